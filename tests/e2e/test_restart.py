"""Stops, restarts, and a database that goes away: nothing acknowledged is lost,
and answers say how complete they are."""

import random
import time

import grpc
import pytest

import errors
import oracle
import processes
import protos
import session
import workload
from conftest import make_deployment

# "Within a few seconds", on a machine that may be busy with other tests.
DRAIN_SECONDS = 10


def _send(
    deployment, truth: oracle.Oracle, generator: random.Random, batches: int, name: str = "restart"
) -> None:
    series = workload.some_series(name)
    with session.Session(deployment.ingest_address) as sender:
        for _ in range(batches):
            samples = workload.some_samples(generator, series, 50, time.time_ns(), 1800)
            sender.send(samples)
            truth.add(samples)
        sender.wait_acked()


def _check(deployment, truth: oracle.Oracle) -> None:
    deployment.wait_complete()
    compared = workload.check_every_window(deployment, truth, time.time_ns(), ("1h", "24h"))
    assert compared == 2 * len(truth.samples)


def test_sigterm_drains_and_a_restart_continues(deployment, seed):
    generator = random.Random(seed)
    truth = oracle.Oracle()
    for round_ in range(3):
        _send(deployment, truth, generator, 10)
        # At once: what is acknowledged is on disk, and not yet committed.
        for process in (
            list(deployment.processes) if round_ % 2 else list(reversed(deployment.processes))
        ):
            seconds = process.terminate()
            print(f"{process.name} stopped in {seconds:.2f} s")
            assert seconds < DRAIN_SECONDS
        deployment.start()
    _check(deployment, truth)


def test_kill_9_of_everything_at_once_loses_nothing(own_deployment, seed):
    generator = random.Random(seed)
    truth = oracle.Oracle()
    for _ in range(3):
        _send(own_deployment, truth, generator, 10)
        own_deployment.kill()
        own_deployment.start()
    _check(own_deployment, truth)


def test_sessions_ride_through_graceful_restarts(separate, seed):
    generator = random.Random(seed)
    truth = oracle.Oracle()
    series = workload.some_series("restart.graceful")
    with session.Session(separate.ingest_address) as sender:
        for index in range(60):
            samples = workload.some_samples(generator, series, 50, time.time_ns(), 1800)
            sender.send(samples)
            truth.add(samples)
            if index % 15 == 14:
                process = separate.processes[index // 15 % 2]
                process.terminate()
                process.start()
        sender.wait_acked()
        assert not sender.rejections
    _check(separate, truth)


def test_the_last_flush_before_a_graceful_stop_commits_everything(separate):
    """What the aggregator had received is committed when SIGTERM is answered, so
    its successor answers without the collector."""
    one = protos.ingest.Sample(name="restart.flush", kind=protos.COUNTER, integer_value=1)
    for _ in range(20):
        separate.push(protos.ingest.PushRequest(samples=[one]))
    deadline = time.monotonic() + 10
    while separate.aggregator.metric("weir_folded_samples_total") < 20:
        assert time.monotonic() < deadline, "the aggregator does not receive what was pushed"
    separate.aggregator.terminate()
    separate.collector.kill()
    separate.aggregator.start()
    request = protos.query.QueryWindowRequest(window="1h", name="restart.flush")
    (entry,) = separate.query_window(request).series
    assert sum(b.count for b in entry.bins) == 20


def test_ingest_goes_on_while_the_aggregator_is_down(separate, seed):
    generator = random.Random(seed)
    truth = oracle.Oracle()
    _send(separate, truth, generator, 5)
    separate.aggregator.kill()
    _send(separate, truth, generator, 20)
    separate.aggregator.start()
    _check(separate, truth)


def test_a_collector_starts_before_its_aggregator(work_dir, request, seed):
    deployment = make_deployment(work_dir / "collector_first", "sqlite", "separate", request)
    truth = oracle.Oracle()
    try:
        deployment.collector.start()
        _send(deployment, truth, random.Random(seed), 5)
        deployment.aggregator.start()
        _check(deployment, truth)
        deployment.stop()
    finally:
        deployment.kill()


@pytest.mark.parametrize("mode", ["immediate", "fast"])
def test_a_database_that_is_down_is_waited_for(work_dir, request, postgres_cluster, mode, seed):
    deployment = make_deployment(work_dir / f"database_{mode}", "postgres", "separate", request)
    generator = random.Random(seed)
    truth = oracle.Oracle()
    try:
        deployment.start()
        _send(deployment, truth, generator, 5)
        postgres_cluster.stop(mode)
        try:
            started = time.monotonic()
            _send(deployment, truth, generator, 20)
            while True:
                with pytest.raises(grpc.RpcError) as raised:
                    deployment.query_window(
                        protos.query.QueryWindowRequest(window="5m", name="restart.tokens")
                    )
                assert raised.value.code() == grpc.StatusCode.UNAVAILABLE
                assert errors.reason(raised.value) == "STORE_UNAVAILABLE"
                if time.monotonic() - started > 4:
                    break
                _send(deployment, truth, generator, 1)
            assert deployment.aggregator.running and deployment.collector.running
        finally:
            postgres_cluster.start()
        caught_up = time.monotonic()
        _check(deployment, truth)
        print(f"caught up {time.monotonic() - caught_up:.2f} s after the database was back")
        deployment.stop()
    finally:
        deployment.kill()


def test_an_aggregator_waits_for_a_database_that_is_not_up_yet(
    work_dir, request, postgres_cluster, seed
):
    deployment = make_deployment(work_dir / "database_late", "postgres", "separate", request)
    truth = oracle.Oracle()
    try:
        postgres_cluster.stop("fast")
        try:
            deployment.aggregator.start(wait=False)
            deployment.collector.start()
            _send(deployment, truth, random.Random(seed), 5)
            time.sleep(1)
            assert deployment.aggregator.running, deployment.aggregator.log_tail()
        finally:
            postgres_cluster.start()
        deployment.aggregator.wait_serving()
        _check(deployment, truth)
        deployment.stop()
    finally:
        deployment.kill()


def test_complete_until_advances_when_nothing_comes(own_deployment):
    """Also before the first sample ever, and by more than one flush."""
    lags = []
    for _ in range(3):
        own_deployment.wait_complete(timeout=15)
        time.sleep(1)
        answer = own_deployment.query_window(
            protos.query.QueryWindowRequest(window="5m", name="no.such.metric")
        )
        lags.append((time.time_ns() - answer.complete_until.ToNanoseconds()) / 1e9)
        assert not answer.missing
    print(f"complete_until was behind by {', '.join(f'{lag:.2f}' for lag in lags)} s")
    assert max(lags) < 15


def test_an_aggregator_that_waits_for_its_database_can_be_stopped(
    work_dir, request, postgres_cluster
):
    deployment = make_deployment(work_dir / "database_never", "postgres", "separate", request)
    try:
        postgres_cluster.stop("fast")
        try:
            deployment.aggregator.start(wait=False)
            time.sleep(1)
            assert deployment.aggregator.terminate() < DRAIN_SECONDS
        finally:
            postgres_cluster.start()
    finally:
        deployment.kill()


def test_a_silent_collector_is_listed_as_missing(work_dir, request):
    """After a minute by default, after a few seconds here."""
    deployment = make_deployment(
        work_dir / "silent",
        "sqlite",
        "separate",
        request,
        aggregator_extra=("--silent_after", "5s"),
    )
    one = protos.ingest.Sample(name="restart.silent", kind=protos.COUNTER, integer_value=1)
    ask = protos.query.QueryWindowRequest(window="1h", name="restart.silent")
    try:
        deployment.start()
        deployment.push(protos.ingest.PushRequest(samples=[one]))
        deployment.wait_complete()
        killed = time.time_ns()
        deployment.collector.kill()
        deadline = time.monotonic() + 30
        while not (answer := deployment.query_window(ask)).missing:
            assert time.monotonic() < deadline, "not missing long after kill -9"
            time.sleep(0.2)
        silent = (time.time_ns() - killed) / oracle.SECOND
        assert silent > 2, silent
        (missing,) = answer.missing
        assert not answer.HasField("complete_until")
        assert len(missing.wal_id) == 32 and int(missing.wal_id, 16)
        assert abs(missing.heard_time.ToNanoseconds() - killed) < 5 * oracle.SECOND
        assert missing.complete_until.ToNanoseconds() <= killed
        deployment.collector.start()
        deployment.wait_complete()
        answer = deployment.query_window(ask)
        assert not answer.missing
        assert sum(b.count for entry in answer.series for b in entry.bins) == 1
        deployment.stop()
    finally:
        deployment.kill()


def test_an_aggregator_whose_slots_were_taken_ends_and_its_successor_is_exact(separate, seed):
    """A second aggregator on the same store fences the first, which ends by itself
    instead of committing; started again, it takes the slots back."""
    generator = random.Random(seed)
    truth = oracle.Oracle()
    _send(separate, truth, generator, 5)
    intruder = processes.Process(
        "weir-aggregator",
        ["--store.url", separate.store_url, "--listen", "127.0.0.1:0"]
        + ["--ops_listen", "127.0.0.1:0"],
        separate.folder / "intruder.log",
        ("aggregator", "ops"),
    )
    try:
        intruder.start()
        _send(separate, truth, generator, 5)
        assert separate.aggregator.wait_exit(timeout=20) != 0
        _send(separate, truth, generator, 5)
        separate.aggregator.start()
        _check(separate, truth)
    finally:
        intruder.kill()
