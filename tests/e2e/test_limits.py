"""At a limit weir refuses or folds together, says so, and loses nothing."""

import time

import grpc
import pytest
from google.rpc import error_details_pb2

import errors
import oracle
import protos
import session
from conftest import make_deployment

OVERFLOW = "weir.overflow"


def _counter(name: str, **labels: str) -> oracle.Series:
    return oracle.series(name, protos.COUNTER, **labels)


def _bins(deployment, name: str) -> dict:
    """(labels) -> (count, exact sum) over the last hour."""
    deployment.wait_complete()
    answer = deployment.query_window(protos.query.QueryWindowRequest(window="1h", name=name))
    return {
        tuple(sorted(entry.labels.items())): (
            sum(b.count for b in entry.bins),
            sum(int(b.integer_sum) for b in entry.bins if b.count),
        )
        for entry in answer.series
    }


def test_a_full_log_pushes_back_and_recovers(work_dir, request):
    """With the aggregator down the log fills to its quota: sessions are rewound,
    Push is refused with a delay, and when the aggregator is back all of it counts."""
    deployment = make_deployment(
        work_dir / "full",
        "sqlite",
        "separate",
        request,
        collector_extra=("--wal.quota_bytes", "4MiB", "--wal.segment_bytes", "256KiB"),
    )
    one = protos.ingest.Sample(name="limits.full", kind=protos.COUNTER, integer_value=1)
    batches = 0
    try:
        deployment.start()
        deployment.aggregator.kill()
        with session.Session(deployment.ingest_address, max_in_flight=4) as sender:
            deadline = time.monotonic() + 60
            while sender.counts.rewinds == 0:
                assert time.monotonic() < deadline, "the log never fills"
                now = time.time_ns()
                samples = [
                    oracle.Sample(_counter("limits.full"), now, i << 40) for i in range(5000)
                ]
                try:
                    sender.send(samples, timeout=1)
                except TimeoutError:
                    break
                batches += 1
            with pytest.raises(grpc.RpcError) as raised:
                deployment.push(protos.ingest.PushRequest(samples=[one]))
            assert raised.value.code() == grpc.StatusCode.UNAVAILABLE
            assert errors.reason(raised.value) == "LOG_FULL"
            assert any(
                isinstance(detail, error_details_pb2.RetryInfo)
                and detail.retry_delay.ToNanoseconds() > 0
                for detail in errors.details(raised.value)
            )
            assert sender.counts.rewinds > 0
            deployment.aggregator.start()
            sender.wait_acked(timeout=120)
            print(f"{batches} batches, {sender.counts}")
        total = sum(i << 40 for i in range(5000))
        assert _bins(deployment, "limits.full") == {(): (5000 * batches, total * batches)}
        deployment.stop()
    finally:
        deployment.kill()


@pytest.mark.parametrize(
    "where, flags",
    [
        ("collector_extra", ("--max_series", "20")),
        ("aggregator_extra", ("--max_series_per_metric", "20")),
        ("aggregator_extra", ("--max_series_per_tenant", "20")),
    ],
)
def test_series_past_the_limit_are_summed_up_in_the_overflow_series(
    work_dir, request, where, flags
):
    name = "limits.overflow"
    folder = work_dir / f"overflow{flags[0]}"
    deployment = make_deployment(folder, "sqlite", "separate", request, **{where: flags})
    try:
        deployment.start()
        with session.Session(deployment.ingest_address) as sender:
            for _ in range(2):
                now = time.time_ns()
                sender.send(oracle.Sample(_counter(name, i=str(i)), now, 1 << i) for i in range(50))
            sender.wait_acked()
        for life in ("first", "restarted"):
            found = _bins(deployment, name)
            (overflow,) = [labels for labels in found if OVERFLOW in dict(labels)]
            assert 10 <= len(found) <= 21, (life, len(found))
            assert sum(count for count, _ in found.values()) == 100, life
            assert sum(total for _, total in found.values()) == 2 * ((1 << 50) - 1), life
            assert found[overflow][0] == 2 * (50 - (len(found) - 1)), life
            for process in reversed(deployment.processes):
                process.terminate()
            deployment.start()
        deployment.stop()
    finally:
        deployment.kill()
