"""StreamBatches: whatever breaks, a batch is counted once and only once."""

import os
import queue
import random
import threading
import time

import grpc
import pytest

import errors
import oracle
import protos
import session
import workload

OPEN = protos.ingest.OpenSession
REQUEST = protos.ingest.StreamBatchesRequest
COMMITTED = protos.sample.ACK_LEVEL_COMMITTED


class RawStream:
    """A stream whose every message the test chooses itself."""

    def __init__(self, address: str):
        self._channel = session.connect(address)
        self._outgoing: queue.SimpleQueue = queue.SimpleQueue()
        self._call = protos.ingest_grpc.IngestServiceStub(self._channel).StreamBatches(
            iter(self._outgoing.get, None), timeout=30
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._call.cancel()
        self._outgoing.put(None)
        self._channel.close()

    def send(self, **message) -> None:
        self._outgoing.put(REQUEST(**message))

    def open(self, session_id: bytes, last_acked_sequence: int = 0, ack_level: int = 0) -> int:
        self.send(
            open_session=OPEN(
                session_id=session_id, last_acked_sequence=last_acked_sequence, ack_level=ack_level
            )
        )
        return self.receive("session_opened").last_sequence

    def receive(self, kind: str):
        response = next(self._call)
        assert response.WhichOneof("message") == kind, f"{response}, not {kind}"
        return getattr(response, kind)

    def wait_acked(self, sequence: int) -> None:
        while self.receive("batches_acked").sequence < sequence:
            pass

    def error(self) -> grpc.RpcError:
        with pytest.raises(grpc.RpcError) as raised:
            while True:
                next(self._call)
        return raised.value


def _batch(sequence: int, samples):
    return session.BatchEncoder().encode(sequence, samples)


def _ones(name: str, count: int) -> list[oracle.Sample]:
    one = oracle.series(name, protos.COUNTER)
    return [oracle.Sample(one, time.time_ns(), 1) for _ in range(count)]


def _total(deployment, name: str) -> int:
    """The exact sum of everything a counter counted in the last hour."""
    deployment.wait_complete()
    answer = deployment.query_window(protos.query.QueryWindowRequest(window="1h", name=name))
    return sum(int(b.integer_sum) for entry in answer.series for b in entry.bins if b.count)


def test_a_batch_sent_again_is_acknowledged_and_not_counted_again(deployment):
    id_, name = os.urandom(16), "sessions.again"
    with RawStream(deployment.ingest_address) as stream:
        assert stream.open(id_) == 0
        stream.send(batch=_batch(1, _ones(name, 10)))
        stream.wait_acked(1)
        stream.send(batch=_batch(1, _ones(name, 10)))
        stream.wait_acked(1)
    with RawStream(deployment.ingest_address) as stream:
        assert stream.open(id_) == 1
        stream.send(batch=_batch(1, _ones(name, 10)))
        stream.wait_acked(1)
        stream.send(batch=_batch(2, _ones(name, 5)))
        stream.wait_acked(2)
    assert _total(deployment, name) == 15


def test_definitions_of_a_repeated_batch_hold_for_the_next(deployment):
    id_, name = os.urandom(16), "sessions.definitions"
    with RawStream(deployment.ingest_address) as stream:
        stream.open(id_)
        stream.send(batch=_batch(1, _ones(name, 3)))
        stream.wait_acked(1)
    with RawStream(deployment.ingest_address) as stream:
        stream.open(id_)
        encoder = session.BatchEncoder()
        stream.send(batch=encoder.encode(1, _ones(name, 3)))
        second = encoder.encode(2, _ones(name, 4))
        assert not second.series
        stream.send(batch=second)
        stream.wait_acked(2)
    assert _total(deployment, name) == 7


def test_a_gap_is_answered_with_a_rewind(deployment):
    id_, name = os.urandom(16), "sessions.gap"
    with RawStream(deployment.ingest_address) as stream:
        stream.open(id_)
        stream.send(batch=_batch(1, _ones(name, 1)))
        stream.wait_acked(1)
        stream.send(batch=_batch(3, _ones(name, 100)))
        rewind = stream.receive("rewind")
        assert rewind.next_sequence == 2 and not rewind.HasField("retry_delay")
        stream.send(batch=_batch(2, _ones(name, 10)))
        stream.send(batch=_batch(3, _ones(name, 100)))
        stream.wait_acked(3)
    assert _total(deployment, name) == 111


def test_a_session_nobody_knows_is_refused_when_it_claims_acknowledgements(deployment):
    with RawStream(deployment.ingest_address) as stream:
        stream.send(open_session=OPEN(session_id=os.urandom(16), last_acked_sequence=3))
        error = stream.error()
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert errors.reason(error) == "SESSION_UNKNOWN"


@pytest.mark.parametrize(
    "reason, messages",
    [
        ("STREAM_PROTOCOL", [{"batch": protos.ingest.Batch(sequence=1)}]),
        (
            "STREAM_PROTOCOL",
            [
                {"open_session": OPEN(session_id=b"0123456789abcdef")},
                {"open_session": OPEN(session_id=b"0123456789abcdef")},
            ],
        ),
        ("INVALID_FIELD", [{"open_session": OPEN(session_id=b"short")}]),
        ("INVALID_FIELD", [{"open_session": OPEN()}]),
        (
            "INVALID_FIELD",
            [
                {"open_session": OPEN(session_id=os.urandom(16))},
                {"batch": protos.ingest.Batch(sequence=0)},
            ],
        ),
    ],
)
def test_a_client_that_breaks_the_protocol_is_told_how(deployment, reason, messages):
    with RawStream(deployment.ingest_address) as stream:
        for message in messages:
            stream.send(**message)
        error = stream.error()
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert errors.reason(error) == reason


def test_bad_samples_of_a_batch_are_rejected_and_the_rest_is_kept(deployment):
    name = "sessions.bad"
    batch = _batch(1, _ones(name, 4))
    batch.series.add(ref=1, name="", kind=protos.GAUGE)
    batch.integers.refs.extend([1, 77])
    batch.integers.time_deltas.extend([0, 0])
    batch.integers.values.extend([5, 5])
    batch.floats.refs.extend([0, 0])
    batch.floats.time_deltas.extend([0, 0])
    batch.floats.values.extend([float("nan"), -1.0])
    with RawStream(deployment.ingest_address) as stream:
        stream.open(os.urandom(16))
        stream.send(batch=batch)
        acked = stream.receive("batches_acked")
        assert acked.sequence == 1
        (rejected,) = acked.rejections
        found = {protos.reason_name(entry.reason): entry.count for entry in rejected.rejections}
        assert rejected.sequence == 1
        assert found == {
            "NAME_INVALID": 1,
            "SERIES_UNDEFINED": 1,
            "VALUE_NOT_FINITE": 1,
            "VALUE_NEGATIVE": 1,
        }, found
        uneven = _batch(2, _ones(name, 3))
        uneven.integers.values.append(9)
        stream.send(batch=uneven)
        acked = stream.receive("batches_acked")
        found = {protos.reason_name(e.reason): e.count for e in acked.rejections[0].rejections}
        assert acked.sequence == 2 and set(found) == {"COLUMNS_UNEVEN"}
    assert _total(deployment, name) == 4


def test_two_clients_fill_the_same_series_and_every_window_is_exact(deployment, seed):
    now = time.time_ns()
    truth = oracle.Oracle()
    lock = threading.Lock()
    failures = []

    def client(number: int) -> None:
        try:
            generator = random.Random(seed + number)
            series = workload.some_series("sessions.two")
            with session.Session(deployment.ingest_address) as sender:
                for index in range(40):
                    samples = workload.some_samples(
                        generator, series, 100, now, (3600, 40 * 86400)[index % 2]
                    )
                    sender.send(samples)
                    with lock:
                        truth.add(samples)
                    if generator.random() < 0.2:
                        sender.break_connection()
                sender.wait_acked()
                assert not sender.rejections and sender.counts.breaks > 0
        except BaseException as error:  # reported by the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=client, args=(number,)) for number in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures
    deployment.wait_complete()
    assert workload.check_every_window(deployment, truth, now + oracle.SECOND) > 3 * len(
        truth.samples
    )


def test_a_committed_session_is_acknowledged_when_answers_have_it(deployment):
    name = "sessions.committed"
    with session.Session(deployment.ingest_address, ack_level=COMMITTED) as sender:
        for count in (1, 10, 100):
            sender.send(_ones(name, count))
            sender.wait_acked()
            answer = deployment.query_window(
                protos.query.QueryWindowRequest(window="1h", name=name)
            )
            total = sum(b.count for entry in answer.series for b in entry.bins)
            assert total == {1: 1, 10: 11, 100: 111}[count]


def test_a_reopened_committed_session_is_acknowledged_for_what_was_in_flight(deployment):
    name = "sessions.reopened"
    with session.Session(deployment.ingest_address, ack_level=COMMITTED) as sender:
        for _ in range(5):
            sender.send(_ones(name, 10))
            time.sleep(0.01)
            sender.break_connection()
        sender.wait_acked()
        assert sender.counts.breaks > 0
    assert _total(deployment, name) == 50


def test_late_data_reaches_the_tiers_that_are_derived_already(own_deployment, seed):
    """Event times from seconds to a year back, sent again and again while bins
    are derived under them: every window stays exact."""
    generator = random.Random(seed)
    series = workload.some_series("sessions.late")
    truth = oracle.Oracle()
    # Past the end of a minute, and past the delay after which it is derived.
    until = oracle.align_down(time.time_ns() // oracle.SECOND, 60) + 60 + 10
    with session.Session(own_deployment.ingest_address) as sender:
        while time.time() < until:
            now = time.time_ns()
            for oldest in (30, 300, 5400, 3 * 86400, 20 * 86400, 360 * 86400):
                samples = workload.some_samples(generator, series, 30, now, oldest)
                sender.send(samples)
                truth.add(samples)
            time.sleep(0.5)
        sender.wait_acked()
    own_deployment.wait_complete()
    workload.check_every_window(own_deployment, truth, time.time_ns())
    assert own_deployment.aggregator.metric("weir_derivations_total") > 0
    assert own_deployment.aggregator.metric("weir_late_rows_total") > 0


def test_a_session_outlives_the_collector(separate, seed):
    """kill -9 of the collector between and under batches: retries are recognised
    by what its log says."""
    generator = random.Random(seed)
    series = workload.some_series("sessions.outlives")
    truth = oracle.Oracle()
    now = time.time_ns()
    with session.Session(separate.ingest_address) as sender:
        for index in range(60):
            samples = workload.some_samples(generator, series, 50, now, 200)
            sender.send(samples)
            truth.add(samples)
            if index % 10 == 9:
                separate.collector.kill()
                separate.collector.start()
        sender.wait_acked()
        assert sender.counts.breaks >= 6 and not sender.rejections
        print(sender.counts)
    separate.wait_complete()
    assert workload.check_every_window(
        separate, truth, now + oracle.SECOND, ("5m", "1h")
    ) == 2 * len(truth.samples)


def test_a_known_sequence_is_known_after_a_restart(separate):
    id_, name = os.urandom(16), "sessions.restart"
    with RawStream(separate.ingest_address) as stream:
        stream.open(id_)
        for sequence in (1, 2, 3):
            stream.send(batch=_batch(sequence, _ones(name, 10)))
        stream.wait_acked(3)
    separate.collector.kill()
    separate.collector.start()
    with RawStream(separate.ingest_address) as stream:
        # What a client knows that trusts the answer: go on after it.
        assert stream.open(id_, last_acked_sequence=3) == 3
        stream.send(batch=_batch(3, _ones(name, 10)))
        stream.send(batch=_batch(4, _ones(name, 1)))
        stream.wait_acked(4)
    assert _total(separate, name) == 31


def test_an_idempotency_key_outlives_the_collector(separate):
    one = protos.ingest.Sample(name="sessions.key", kind=protos.COUNTER, integer_value=1)
    request = protos.ingest.PushRequest(samples=[one], idempotency_key="k")
    assert not separate.push(request).duplicate
    separate.collector.kill()
    separate.collector.start()
    assert separate.push(request).duplicate
    assert _total(separate, "sessions.key") == 1
