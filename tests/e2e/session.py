"""A client of IngestService/StreamBatches that never gives up.

    session = Session(address)
    session.send([Sample(...), ...])      # returns the batch's sequence
    session.wait_acked(timeout=10)        # until every batch is acknowledged
    session.close()

A thread owns the connection. It keeps what was not acknowledged, opens the same
session again whenever the stream breaks, sends all of it again, and obeys Rewind.
It gives up only on what can never succeed, such as SESSION_UNKNOWN; `error` then
holds the cause and waiting raises it.

A batch counts as acknowledged when BatchesAcked names it and at no other time.
That SessionOpened knows a batch does not say that the batch is safe yet, and
sending it again makes the collector prove that it is not counted twice.

Thread safety: thread-safe.
"""

import collections
import dataclasses
import os
import queue
import threading
import time

import grpc

import errors
import protos

# What a broken connection looks like. Anything else is an answer.
_RETRIED = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.DEADLINE_EXCEEDED,
)
_CHANNEL_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
)


def connect(address: str) -> grpc.Channel:
    """A channel of its own, which comes back quickly after the server does."""
    return grpc.insecure_channel(address, options=_CHANNEL_OPTIONS)


class BatchEncoder:
    """Turns samples into batches of one stream; knows which series it defined."""

    def __init__(self) -> None:
        self._refs: dict = {}

    def encode(self, sequence: int, samples):
        batch = protos.ingest.Batch(sequence=sequence)
        if samples:
            batch.base_time_unix_nano = samples[0].time_ns
        floats, integers = batch.floats, batch.integers
        previous = {False: batch.base_time_unix_nano, True: batch.base_time_unix_nano}
        for sample in samples:
            ref = self._refs.get(sample.series)
            if ref is None:
                ref = self._refs[sample.series] = len(self._refs)
                batch.series.add(
                    ref=ref,
                    name=sample.series.name,
                    kind=sample.series.kind,
                    labels=dict(sample.series.labels),
                )
            integer = isinstance(sample.value, int)
            columns = integers if integer else floats
            columns.refs.append(ref)
            columns.time_deltas.append(sample.time_ns - previous[integer])
            columns.values.append(sample.value)
            previous[integer] = sample.time_ns
        return batch


@dataclasses.dataclass
class SessionCounts:
    connects: int = 0
    breaks: int = 0
    rewinds: int = 0
    resent_batches: int = 0
    known_on_reopen: int = 0  # batches whose acknowledgement had been lost


class Session:
    def __init__(
        self,
        address: str,
        *,
        ack_level=0,
        session_id: bytes | None = None,
        max_in_flight: int = 8,
        last_acked_sequence: int = 0,
    ):
        self.address = address
        self.session_id = session_id or os.urandom(16)
        self.ack_level = ack_level
        self.counts = SessionCounts()
        self.rejections: list = []  # (sequence, reason name, count)
        self.error: Exception | None = None
        self._max_in_flight = max_in_flight
        self._lock = threading.Condition()
        self._last_sequence = last_acked_sequence
        self._acked_sequence = last_acked_sequence
        self._pending: collections.OrderedDict = collections.OrderedDict()  # sequence -> samples
        self._closed = False
        self._call = None
        self._thread = threading.Thread(target=self._run, name="session", daemon=True)
        self._thread.start()

    # --- the caller's side ---

    def send(self, samples, *, timeout: float = 60) -> int:
        """Queues a batch; blocks while too many are in flight."""
        samples = list(samples)
        with self._lock:
            self._wait(lambda: len(self._pending) < self._max_in_flight, timeout)
            self._last_sequence += 1
            self._pending[self._last_sequence] = samples
            self._lock.notify_all()
            return self._last_sequence

    def wait_acked(self, sequence: int | None = None, *, timeout: float = 30) -> None:
        with self._lock:
            wanted = self._last_sequence if sequence is None else sequence
            self._wait(lambda: self._acked_sequence >= wanted, timeout)

    def break_connection(self) -> None:
        """Drops the stream, as a network would. The session goes on."""
        with self._lock:
            call = self._call
        if call is not None:
            call.cancel()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            call = self._call
            self._lock.notify_all()
        if call is not None:
            call.cancel()
        self._thread.join(timeout=10)
        assert not self._thread.is_alive()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _wait(self, condition, timeout: float) -> None:
        """REQUIRES: the lock is held."""
        if not self._lock.wait_for(lambda: condition() or self.error, timeout):
            raise TimeoutError(
                f"after {timeout} s: acked {self._acked_sequence} of {self._last_sequence}, "
                f"{self.counts}"
            )
        if self.error and not condition():
            raise self.error

    # --- the connection's thread ---

    def _run(self) -> None:
        while True:
            with self._lock:
                if self._closed or self.error:
                    return
            try:
                self._converse()
            except grpc.RpcError as error:
                if error.code() not in _RETRIED or errors.reason(error) == "SESSION_UNKNOWN":
                    self._fail(error)
                    return
            except Exception as error:  # a bug of this client, or a lie of the server
                self._fail(error)
                return
            with self._lock:
                if not self._closed:
                    self.counts.breaks += 1
            time.sleep(0.02)

    def _fail(self, error: Exception) -> None:
        with self._lock:
            if not self._closed:
                self.error = error
            self._lock.notify_all()

    def _converse(self) -> None:
        """One stream, from OpenSession until it breaks or the session is closed."""
        with connect(self.address) as channel:
            outgoing: queue.SimpleQueue = queue.SimpleQueue()
            call = protos.ingest_grpc.IngestServiceStub(channel).StreamBatches(
                iter(outgoing.get, None), wait_for_ready=False
            )
            stop = threading.Event()
            sender = None
            try:
                with self._lock:
                    if self._closed:
                        return
                    self._call = call
                    acked = self._acked_sequence
                outgoing.put(
                    protos.ingest.StreamBatchesRequest(
                        open_session=protos.ingest.OpenSession(
                            session_id=self.session_id,
                            last_acked_sequence=acked,
                            ack_level=self.ack_level,
                        )
                    )
                )
                for response in call:
                    kind = response.WhichOneof("message")
                    if kind == "session_opened":
                        assert sender is None, "a second SessionOpened"
                        cursor = self._opened(response.session_opened)
                        sender = threading.Thread(
                            target=self._send_loop,
                            args=(outgoing, cursor, stop),
                            name="sender",
                            daemon=True,
                        )
                        sender.start()
                    elif kind == "batches_acked":
                        self._acked(response.batches_acked)
                    elif kind == "rewind":
                        self._rewound(response.rewind, cursor)
                    else:
                        raise AssertionError(f"an empty StreamBatchesResponse: {response}")
            finally:
                stop.set()
                with self._lock:
                    self._call = None
                    self._lock.notify_all()
                call.cancel()
                outgoing.put(None)
                if sender is not None:
                    sender.join(timeout=10)

    def _opened(self, opened) -> "_Cursor":
        with self._lock:
            self.counts.connects += 1
            known, acked, sent = opened.last_sequence, self._acked_sequence, self._last_sequence
            assert acked <= known <= sent, f"opened at {known}, acked {acked}, sent {sent}"
            self.counts.known_on_reopen += opened.last_sequence - self._acked_sequence
            return _Cursor(next_sequence=self._acked_sequence + 1)

    def _forget(self, sequence: int) -> None:
        """REQUIRES: the lock is held."""
        while self._pending and next(iter(self._pending)) <= sequence:
            self._pending.popitem(last=False)
        self._acked_sequence = max(self._acked_sequence, sequence)
        self._lock.notify_all()

    def _acked(self, acked) -> None:
        with self._lock:
            assert (
                acked.sequence <= self._last_sequence
            ), f"acked {acked.sequence}, sent {self._last_sequence}"
            for batch in acked.rejections:
                for rejection in batch.rejections:
                    self.rejections.append(
                        (batch.sequence, protos.reason_name(rejection.reason), rejection.count)
                    )
            self._forget(acked.sequence)

    def _rewound(self, rewind, cursor: "_Cursor") -> None:
        with self._lock:
            self.counts.rewinds += 1
            assert rewind.next_sequence > self._acked_sequence, rewind
            cursor.next_sequence = rewind.next_sequence
            cursor.not_before = time.monotonic() + rewind.retry_delay.ToNanoseconds() / 1e9
            self._lock.notify_all()

    def _send_loop(self, outgoing, cursor: "_Cursor", stop: threading.Event) -> None:
        encoder = BatchEncoder()
        # What this stream sent, as it was sent: after a Rewind the same messages
        # go out, so a definition is never separated from its batch.
        sent: dict = {}
        while True:
            with self._lock:
                self._lock.wait_for(
                    lambda: stop.is_set() or cursor.next_sequence in self._pending, timeout=1
                )
                if stop.is_set():
                    return
                wait = cursor.not_before - time.monotonic()
                if cursor.next_sequence not in self._pending and wait <= 0:
                    continue
                if wait <= 0:
                    sequence = cursor.next_sequence
                    samples = self._pending[sequence]
                    cursor.next_sequence += 1
                    for old in [key for key in sent if key <= self._acked_sequence]:
                        del sent[old]
            if wait > 0:
                stop.wait(wait)
                continue
            if sequence in sent:
                self.counts.resent_batches += 1
            else:
                sent[sequence] = protos.ingest.StreamBatchesRequest(
                    batch=encoder.encode(sequence, samples)
                )
            outgoing.put(sent[sequence])


@dataclasses.dataclass
class _Cursor:
    """Where the sender of one stream is; guarded by the session's lock."""

    next_sequence: int
    not_before: float = 0.0
