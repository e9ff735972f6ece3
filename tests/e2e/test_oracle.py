"""The tools of the other tests, tested against a server that is right, and
against servers that are wrong in one way each."""

import random
import threading
import time

import pytest

import fake_server
import oracle
import protos
import session
import workload


def _run(
    server, seed: int, clients: int = 2, batches: int = 30, name: str = "fake"
) -> tuple[oracle.Oracle, int]:
    """Sends known samples through sessions; returns them and the end of the range to ask for."""
    now = time.time_ns()
    truth = oracle.Oracle()
    per_client = []
    for client in range(clients):
        generator = random.Random(seed + client)
        series = workload.some_series(name)
        per_client.append(
            [workload.some_samples(generator, series, 40, now, 3600) for _ in range(batches)]
        )

    def send(batches_of_client):
        with session.Session(server.address) as client:
            for batch in batches_of_client:
                client.send(batch)
            client.wait_acked(timeout=30)

    threads = [
        threading.Thread(target=send, args=(batches_of_client,)) for batches_of_client in per_client
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for batches_of_client in per_client:
        for batch in batches_of_client:
            truth.add(batch)
    return truth, now + oracle.SECOND


def _check(server, truth, end_ns) -> int:
    compared = 0
    with session.connect(server.address) as channel:
        stub = protos.query_grpc.QueryServiceStub(channel)
        for name, kind in sorted({(s.series.name, s.series.kind) for s in truth.samples}):
            for window in ("5m", "1h", "24h"):
                request = workload.full_request(window, name, kind, end_ns=end_ns)
                compared += oracle.check_answer(
                    stub.QueryWindow(request), truth.of(name, kind), request
                )
    return compared


def test_a_server_that_is_right_agrees_with_the_oracle(seed):
    with fake_server.FakeServer() as server:
        truth, end_ns = _run(server, seed)
        assert _check(server, truth, end_ns) > len(truth.samples)


def test_a_session_survives_every_fault_and_nothing_is_counted_twice(seed):
    with fake_server.FakeServer(seed=seed, fault_ratio=0.1) as server:
        truth, end_ns = _run(server, seed, clients=3, batches=60)
        _check(server, truth, end_ns)
        assert all(server.faults[fault] for fault in ("rewind", "lost_ack", "break")), server.faults


@pytest.mark.parametrize("flaw", fake_server.FLAWS)
def test_a_server_with_a_flaw_is_found_out(flaw, seed):
    with fake_server.FakeServer(flaw=flaw, seed=seed, fault_ratio=0.1) as server:
        try:
            truth, end_ns = _run(server, seed)
            _check(server, truth, end_ns)
        except AssertionError as found:
            print(found)
            return
        raise AssertionError(f"nobody noticed {flaw}")


def test_bins_are_half_open_and_aligned_to_the_epoch():
    one = oracle.series("m", protos.GAUGE)
    samples = [
        oracle.Sample(one, time_ns, 1)
        for time_ns in (-1, 0, 10 * oracle.SECOND - 1, 10 * oracle.SECOND)
    ]
    bins = oracle.bins_of(samples, 10)
    assert {start: len(found) for start, found in bins.items()} == {-10: 1, 0: 2, 10: 1}
