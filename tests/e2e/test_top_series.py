"""When a client makes too many series, their totals are kept and the label that
makes them is named: by the aggregator when asked, by the collector in its log and
metrics."""

import re
import time

import grpc
import pytest

import errors
import oracle
import processes
import protos
import session
from conftest import make_deployment

OVERFLOW = "weir.overflow"
USERS = 1000
LIMIT = 100


def _users(name: str, now: int) -> list[oracle.Sample]:
    """One request of each of 1,000 users, worth 1, 2, 3, ... tokens."""
    return [
        oracle.Sample(
            oracle.series(name, protos.COUNTER, model=f"m{i % 3}", user_id=f"user-{i:04}"),
            now,
            i + 1,
        )
        for i in range(USERS)
    ]


def _top(deployment, **request) -> protos.query.ListTopSeriesResponse:
    deadline = time.monotonic() + 30
    with session.connect(deployment.query_address) as channel:
        stub = protos.query_grpc.QueryServiceStub(channel)
        while True:
            try:
                return stub.ListTopSeries(protos.query.ListTopSeriesRequest(**request), timeout=30)
            except grpc.RpcError as error:
                # The slots are not claimed yet after a start.
                assert error.code() == grpc.StatusCode.UNAVAILABLE, error
                assert errors.reason(error) == "STORE_UNAVAILABLE"
                assert time.monotonic() < deadline, error
                time.sleep(0.05)


def _sums(deployment, name: str) -> dict:
    deployment.wait_complete()
    answer = deployment.query_window(protos.query.QueryWindowRequest(window="1h", name=name))
    return {
        tuple(sorted(entry.labels.items())): sum(int(b.integer_sum) for b in entry.bins if b.count)
        for entry in answer.series
    }


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_a_client_that_makes_a_series_per_user_is_named_and_its_totals_are_kept(
    work_dir, request, store
):
    name = "top.requests"
    deployment = make_deployment(
        work_dir / f"top-{store}",
        store,
        "separate",
        request,
        aggregator_extra=("--max_series_per_metric", str(LIMIT)),
    )
    try:
        deployment.start()
        with session.Session(deployment.ingest_address) as sender:
            for _ in range(2):
                sender.send(_users(name, time.time_ns()))
            sender.send(
                [oracle.Sample(oracle.series("top.calm", protos.GAUGE, gpu="0"), time.time_ns(), 1)]
            )
            sender.wait_acked()
        sums = _sums(deployment, name)
        overflow = ((OVERFLOW, "true"),)
        assert len(sums) == LIMIT + 1
        assert sum(sums.values()) == 2 * sum(range(1, USERS + 1))
        assert sums[overflow] > 0

        answer = _top(deployment)
        assert answer.series_count == LIMIT + 1
        assert answer.metric_count == 2
        assert answer.max_series_per_metric == LIMIT
        assert answer.overflowed_series_count == USERS - LIMIT
        assert not answer.overflowed_series_cut
        assert [metric.name for metric in answer.metrics] == [name, "top.calm"]
        worst, calm = answer.metrics
        assert (worst.series_count, worst.overflowed_series_count) == (LIMIT, USERS - LIMIT)
        assert worst.overflowing and not calm.overflowing
        assert worst.scanned_series_count == LIMIT
        assert [(label.name, label.value_count) for label in worst.labels] == [
            ("user_id", LIMIT),
            ("model", 3),
        ]
        assert all(re.fullmatch(r"user-\d{4}", v) for v in worst.labels[0].example_values)
        assert set(worst.labels[1].example_values) == {"m0", "m1", "m2"}
        assert deployment.aggregator.metric("weir_aggregator_overflowed_series_total") == (
            USERS - LIMIT
        )
        assert f"metric={name}" in deployment.aggregator.log_of_this_life()

        # After a restart it is still known that the metric overflows, and who made it.
        deployment.aggregator.terminate()
        deployment.aggregator.start()
        (worst,) = _top(deployment, name=name).metrics
        assert (worst.series_count, worst.overflowing) == (LIMIT, True)
        assert worst.labels[0].name == "user_id"
        deployment.stop()
    finally:
        deployment.kill()


def test_a_collector_at_its_own_limit_names_the_metric(work_dir, request):
    name = "top.collector"
    deployment = make_deployment(
        work_dir / "top-collector",
        "sqlite",
        "separate",
        request,
        collector_extra=("--max_series", str(LIMIT)),
    )
    try:
        deployment.start()
        with session.Session(deployment.ingest_address) as sender:
            for _ in range(2):
                sender.send(_users(name, time.time_ns()))
            sender.wait_acked()
        sums = _sums(deployment, name)
        assert sum(sums.values()) == 2 * sum(range(1, USERS + 1))
        collector = deployment.collector
        assert collector.metric("weir_collector_overflowed_series_total") == USERS - LIMIT
        _, metrics = processes.http_get(collector.addresses["ops"], "/metrics")
        assert f'weir_overflowed_series_total{{metric="{name}"}} {USERS - LIMIT}\n' in metrics
        assert f"metric={name}" in collector.log_of_this_life()
        (worst,) = _top(deployment).metrics
        assert (worst.name, worst.series_count, worst.overflowing) == (name, LIMIT, True)
        assert worst.overflowed_series_count == 0  # not known here
        assert worst.labels[0].name == "user_id"
        deployment.stop()
    finally:
        deployment.kill()
