"""A small weir in Python, to test the session client and the oracle with.

It keeps its bins as it receives, one running aggregate a bin, so that it shares
no arithmetic with the oracle. It can break its connections, lose
acknowledgements and rewind, driven by a seed; and a `flaw` makes it wrong in one
way, which the oracle must notice.
"""

import collections
import math
import random
import threading
import time
from concurrent import futures

import grpc

import oracle
import protos

FLAWS = (
    "count_twice",
    "lose_a_batch",
    "ignore_session",
    "off_by_one_bin",
    "swap_series",
    "sum_in_doubles",
    "last_by_arrival",
    "quantile_rank",
    "no_gaps",
)


class _Running:
    """One bin's aggregate, updated a sample at a time."""

    def __init__(self) -> None:
        self.count = 0
        self.total = 0
        self.integers = True
        self.mean = 0.0
        self.m2 = 0.0
        self.min = math.inf
        self.max = -math.inf
        self.last = (-math.inf, -math.inf)
        self.latest_arrival = 0.0
        self.values: list[float] = []

    def add(self, time_ns: int, value) -> None:
        self.count += 1
        self.integers &= isinstance(value, int)
        self.total += value
        value = float(value)
        distance = value - self.mean
        self.mean += distance / self.count
        self.m2 += distance * (value - self.mean)
        self.min = min(self.min, value)
        self.max = max(self.max, value)
        self.last = max(self.last, (time_ns, value))
        self.latest_arrival = value
        self.values.append(value)


class FakeServer(protos.ingest_grpc.IngestServiceServicer, protos.query_grpc.QueryServiceServicer):
    def __init__(self, *, flaw: str = "", seed: int = 0, fault_ratio: float = 0.0):
        assert flaw in ("", *FLAWS)
        self._flaw = flaw
        self._random = random.Random(seed)
        self._fault_ratio = fault_ratio
        self._lock = threading.Lock()
        self._sessions: dict[bytes, int] = {}
        # width -> (series, bin start) -> running aggregate
        self._bins: dict = {
            width: collections.defaultdict(_Running) for width, _ in oracle.WINDOWS.values()
        }
        self._server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
        protos.ingest_grpc.add_IngestServiceServicer_to_server(self, self._server)
        protos.query_grpc.add_QueryServiceServicer_to_server(self, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()
        self.faults = collections.Counter()

    def stop(self) -> None:
        self._server.stop(grace=None).wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def _chance(self) -> bool:
        return self._random.random() < self._fault_ratio

    def _take(self, series: oracle.Series, time_ns: int, value) -> None:
        if self._flaw == "swap_series" and series.labels and self._random.random() < 0.01:
            series = oracle.Series(series.name, series.kind)
        if self._flaw == "sum_in_doubles":
            value = type(value)(float(value))
        times = 2 if self._flaw == "count_twice" and self._random.random() < 0.01 else 1
        for width, bins in self._bins.items():
            start = oracle.align_down(time_ns // oracle.SECOND, width)
            if self._flaw == "off_by_one_bin" and time_ns % (width * oracle.SECOND) == 0:
                start -= width
            for _ in range(times):
                bins[series, start].add(time_ns, value)

    def StreamBatches(self, request_iterator, context):
        session_id = None
        definitions: dict = {}
        rewound = False
        for request in request_iterator:
            if request.WhichOneof("message") == "open_session":
                session_id = request.open_session.session_id
                with self._lock:
                    last = self._sessions.setdefault(session_id, 0)
                    if self._flaw == "ignore_session":
                        last = request.open_session.last_acked_sequence
                        self._sessions[session_id] = last
                yield protos.ingest.StreamBatchesResponse(
                    session_opened=protos.ingest.SessionOpened(
                        last_sequence=last, max_message_bytes=1 << 22
                    )
                )
                continue
            batch = request.batch
            # Definitions hold whatever becomes of their batch.
            for definition in batch.series:
                definitions[definition.ref] = oracle.series(
                    definition.name, definition.kind, **dict(definition.labels)
                )
            with self._lock:
                known = batch.sequence <= self._sessions[session_id]
            if known:
                self.faults["repeat"] += 1
                yield self._ack(batch.sequence)
                continue
            with self._lock:
                if batch.sequence != self._sessions[session_id] + 1:
                    if not rewound:
                        rewound = True
                        self.faults["gap"] += 1
                        yield self._rewind(session_id)
                    continue
                if self._chance():
                    rewound = True
                    self.faults["rewind"] += 1
                    yield self._rewind(session_id, protos.error_reason.OVERLOADED)
                    continue
                rewound = False
                self._sessions[session_id] = batch.sequence
                if self._flaw != "lose_a_batch" or self._random.random() > 0.2:
                    for columns in (batch.floats, batch.integers):
                        time_ns = batch.base_time_unix_nano
                        for ref, delta, value in zip(
                            columns.refs, columns.time_deltas, columns.values
                        ):
                            time_ns += delta
                            self._take(definitions[ref], time_ns, value)
                if self._chance():
                    self.faults["lost_ack"] += 1
                    context.abort(
                        grpc.StatusCode.UNAVAILABLE,
                        "the connection broke after the batch was taken",
                    )
            yield self._ack(batch.sequence)
            if self._chance():
                self.faults["break"] += 1
                context.abort(grpc.StatusCode.UNAVAILABLE, "the connection broke")

    @staticmethod
    def _ack(sequence: int):
        return protos.ingest.StreamBatchesResponse(
            batches_acked=protos.ingest.BatchesAcked(sequence=sequence)
        )

    def _rewind(self, session_id, reason=0):
        rewind = protos.ingest.Rewind(next_sequence=self._sessions[session_id] + 1, reason=reason)
        if reason:
            rewind.retry_delay.FromMilliseconds(5)
        return protos.ingest.StreamBatchesResponse(rewind=rewind)

    def QueryWindow(self, request, context):
        width, length = oracle.WINDOWS[request.window]
        end = (
            request.end_time.seconds
            if request.HasField("end_time")
            else time.time_ns() // oracle.SECOND + 1
        )
        end = -(-end // width) * width
        start = request.start_time.seconds if request.HasField("start_time") else end - length
        start = start // width * width
        answer = protos.query.QueryWindowResponse(window=request.window)
        answer.bin_duration.seconds = width
        answer.start_time.seconds = start
        answer.end_time.seconds = end
        with self._lock:
            chosen = collections.defaultdict(dict)
            for (series, bin_start), running in self._bins[width].items():
                if series.name == request.name and start <= bin_start < end:
                    chosen[series][bin_start] = running
            for series in sorted(chosen, key=lambda s: s.labels):
                entry = answer.series.add(kind=series.kind, labels=dict(series.labels))
                for bin_start in range(start, end, width):
                    running = chosen[series].get(bin_start)
                    if running is None and self._flaw == "no_gaps":
                        continue
                    self._fill(entry.bins.add(), bin_start, running, request, series.kind, width)
        return answer

    def _fill(self, bin_, start: int, running, request, kind: int, width: int) -> None:
        bin_.start_time.seconds = start
        if running is None:
            return
        bin_.count = running.count
        for function in request.functions or (1, 2, 3, 4, 5):
            if function == protos.query.FUNCTION_SUM:
                bin_.sum = float(running.total)
                if running.integers:
                    bin_.integer_sum = str(running.total)
            elif function == protos.query.FUNCTION_AVG:
                bin_.avg = running.mean
            elif function == protos.query.FUNCTION_MIN:
                bin_.min = running.min
            elif function == protos.query.FUNCTION_MAX:
                bin_.max = running.max
            elif function == protos.query.FUNCTION_LAST:
                bin_.last = (
                    running.latest_arrival if self._flaw == "last_by_arrival" else running.last[1]
                )
            elif function == protos.query.FUNCTION_RATE:
                bin_.rate = (
                    running.count if kind == protos.DISTRIBUTION else running.total
                ) / width
            elif function == protos.query.FUNCTION_STDDEV:
                bin_.stddev = math.sqrt(running.m2 / running.count)
        ordered = sorted(running.values)
        for quantile in request.quantiles:
            rank = max(1, math.ceil(quantile * len(ordered)))
            if self._flaw == "quantile_rank":
                rank = min(len(ordered), rank + 1)
            bin_.quantiles.add(
                quantile=quantile, value=ordered[rank - 1] * 1.005, relative_error=0.01
            )
