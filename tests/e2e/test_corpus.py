"""Everything a hostile or broken client can put into an export: a clear error or a
rejection of the point alone, whatever is good beside it is kept, the collector's
memory stays bounded, and a neighbour is served all the while."""

import concurrent.futures
import http.client
import multiprocessing
import os
import pathlib
import random
import time
import zlib

import grpc
import pytest
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.metrics.v1 import metrics_pb2

import protos
from conftest import make_deployment
from neighbour import Neighbour, p99

EXPORT = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
PUSH = "/weir.v1.IngestService/Push"
MOST_RESIDENT_BYTES = 256 << 20
DELTA = metrics_pb2.AGGREGATION_TEMPORALITY_DELTA
INT64 = (1 << 63) - 1


def _point(value=1, nanos=None, labels=(), **fields):
    point = metrics_pb2.NumberDataPoint(
        time_unix_nano=time.time_ns() if nanos is None else nanos,
        **{"as_double" if isinstance(value, float) else "as_int": value},
        **fields,
    )
    for name, text in labels:
        point.attributes.add(key=name).value.string_value = text
    return point


def _sum(points, temporality=DELTA, name="corpus.bad"):
    return metrics_pb2.Metric(
        name=name,
        sum=metrics_pb2.Sum(
            aggregation_temporality=temporality, is_monotonic=True, data_points=points
        ),
    )


def _histogram(**fields):
    point = metrics_pb2.HistogramDataPoint(time_unix_nano=time.time_ns(), **fields)
    return metrics_pb2.Metric(
        name="corpus.histogram",
        histogram=metrics_pb2.Histogram(aggregation_temporality=DELTA, data_points=[point]),
    )


def _request(*metrics) -> bytes:
    request = metrics_service_pb2.ExportMetricsServiceRequest()
    request.resource_metrics.add().scope_metrics.add().metrics.extend(metrics)
    return request.SerializeToString()


@pytest.fixture(scope="module")
def weir(work_dir, request):
    """Processes of this file's own: their memory is looked at."""
    deployment = make_deployment(work_dir / "corpus", "sqlite", "separate", request)
    try:
        deployment.start()
        yield deployment
        deployment.stop()
    finally:
        deployment.kill()


# Metric, how many of its points are rejected, and the reason.
REJECTED = {
    "nan": (_sum([_point(float("nan"))]), 1, "VALUE_NOT_FINITE"),
    "inf": (_sum([_point(float("inf")), _point(float("-inf"))]), 2, "VALUE_NOT_FINITE"),
    "nul": (_sum([_point(labels=[("a", "b\0c")])]), 1, "LABEL_INVALID"),
    "nul name": (_sum([_point()], name="a\0b"), 1, "NAME_INVALID"),
    "1 MB label": (_sum([_point(labels=[("a", "x" * 1_000_000)])]), 1, "LABEL_INVALID"),
    "10,000 labels": (
        _sum([_point(labels=[(f"l{i}", "v") for i in range(10_000)])]),
        1,
        "TOO_MANY_LABELS",
    ),
    "time 0": (_sum([_point(nanos=0)]), 1, "TIME_TOO_OLD"),
    "1970": (_sum([_point(nanos=1), _point(nanos=10**9)]), 2, "TIME_TOO_OLD"),
    "2262": (_sum([_point(nanos=INT64 - 1)]), 1, "TIME_IN_FUTURE"),
    "int64": (_sum([_point(nanos=INT64), _point(nanos=2 * INT64 + 1)]), 2, "TIME_IN_FUTURE"),
    "negative": (_sum([_point(-1), _point(-INT64 - 1), _point(-0.5)]), 3, "VALUE_NEGATIVE"),
    "unspecified": (_sum([_point()], temporality=0), 1, "METRIC_UNSUPPORTED"),
    "unknown temporality": (_sum([_point()], temporality=77), 1, "METRIC_UNSUPPORTED"),
    "disagreeing": (
        _histogram(count=5, explicit_bounds=[1], bucket_counts=[1, 2]),
        1,
        "HISTOGRAM_INVALID",
    ),
    "falling bounds": (
        _histogram(count=3, explicit_bounds=[2, 1], bucket_counts=[1, 1, 1]),
        1,
        "HISTOGRAM_INVALID",
    ),
    "huge count": (_histogram(count=2 * INT64 + 1), 1, "HISTOGRAM_INVALID"),
    "many buckets": (
        _histogram(count=0, explicit_bounds=range(10_000), bucket_counts=[0] * 10_001),
        1,
        "HISTOGRAM_INVALID",
    ),
}


def _nested(depth: int) -> bytes:
    """An attribute of lists in lists, from the inside out."""

    def field(number: int, body: bytes) -> bytes:
        size, length = len(body), b""
        while size >= 0x80:
            length += bytes([size & 0x7F | 0x80])
            size >>= 7
        return bytes([number << 3 | 2]) + length + bytes([size]) + body

    value = common_pb2.AnyValue(int_value=1).SerializeToString()
    for _ in range(depth):
        value = field(5, field(1, value))
    point = _point().SerializeToString() + field(7, field(1, b"deep") + field(2, value))
    metric = field(1, b"corpus.deep") + field(7, field(1, point) + b"\x10\x01")
    return field(1, field(2, field(2, metric)))


def _fails() -> dict:
    """Requests that are refused as a whole, and with what."""
    good = _request(_sum([_point()]))
    noise = random.Random(20260301)
    invalid = (grpc.StatusCode.INVALID_ARGUMENT,)
    large = (grpc.StatusCode.RESOURCE_EXHAUSTED,)
    empty_points = b"\x0a\x00" * (14 << 20)  # of a gauge: 28 MiB that would be gigabytes

    def wrap(number: int, body: bytes) -> bytes:
        out, size = bytes([number << 3 | 2]), len(body)
        while size >= 0x80:
            out += bytes([size & 0x7F | 0x80])
            size >>= 7
        return out + bytes([size]) + body

    return {
        "invalid utf-8": (EXPORT, good.replace(b"corpus", b"\xff\xfe\xfd\xfc\xfb\xfa"), invalid),
        "truncated": (EXPORT, good[:-3], invalid),
        "10,000 deep": (EXPORT, _nested(10_000), invalid),
        "1,000 deep": (EXPORT, _nested(1_000), invalid),
        "noise": (EXPORT, b"\x0f" + noise.randbytes(100_000), invalid),
        "empty points": (EXPORT, wrap(1, wrap(2, wrap(2, wrap(5, empty_points)))), large),
        "empty resources": (EXPORT, b"\x0a\x00" * (14 << 20), large),
        "empty samples": (PUSH, b"\x0a\x00" * ((2 << 20) - 10), large),
    }


def _http_fails() -> list:
    """Bombs over HTTP: path, headers, body, and the statuses they may get. Any of them
    may also be asked to wait."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    block = bytes(1 << 20)
    gzip = b"".join(packer.compress(block) for _ in range(1 << 10)) + packer.flush()
    # A literal of one byte, then copies of 64 bytes of it, as far as a GiB takes them;
    # what they claim, they give.
    snappy = b"\x80\x80\x80\x80\x04" + b"\x00a" + b"\xfe\x01\x00" * (1 << 24)
    small_claim = b"\x80\x80\x80\x1f" + snappy[5:]  # 62 MiB, and then some
    protobuf = {"Content-Type": "application/x-protobuf"}
    return [
        ("/v1/metrics", protobuf | {"Content-Encoding": "gzip"}, gzip, {413}),
        ("/api/v1/write", protobuf | {"Content-Encoding": "snappy"}, snappy, {413}),
        ("/api/v1/write", protobuf | {"Content-Encoding": "snappy"}, small_claim, {400, 413}),
        ("/api/v1/write", protobuf | {"Content-Encoding": "snappy"}, snappy[:100_000], {400, 413}),
    ]


def _refusal(address: str, method: str, body: bytes):
    """The code's name and the words with which a call is refused."""
    with grpc.insecure_channel(
        address, options=[("grpc.max_send_message_length", -1)]
    ) as channel:
        try:
            channel.unary_unary(method, None, None)(body, timeout=120)
        except grpc.RpcError as error:
            return error.code().name, error.details()
    return "OK", ""


def _post_status(address: str, path: str, headers: dict, body: bytes) -> int:
    connection = http.client.HTTPConnection(address, timeout=120)
    try:
        connection.request("POST", path, body=body, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def _peak_resident_bytes(pid: int) -> int:
    for line in pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    raise AssertionError("no VmHWM")


def _call(deployment, method: str, body: bytes):
    with grpc.insecure_channel(
        deployment.ingest_address, options=[("grpc.max_send_message_length", -1)]
    ) as channel:
        return channel.unary_unary(method, None, None)(body, timeout=120)


@pytest.mark.parametrize("case", REJECTED)
def test_a_bad_point_is_rejected_alone(weir, case):
    metric, count, reason = REJECTED[case]
    name = "corpus.good." + case.replace(" ", "_").replace(",", "")
    body = _request(metric, _sum([_point(7)], name=name))
    answer = metrics_service_pb2.ExportMetricsServiceResponse.FromString(
        _call(weir, EXPORT, body)
    )
    assert answer.partial_success.rejected_data_points == count, answer
    assert reason in answer.partial_success.error_message, answer
    weir.wait_complete()
    found = weir.query_window(protos.query.QueryWindowRequest(window="1h", name=name))
    assert sum(b.count for entry in found.series for b in entry.bins) == 1


def test_a_bad_request_is_refused_costs_little_and_disturbs_nobody(weir):
    cases = _fails()
    http_cases = _http_fails()
    neighbour = Neighbour(weir.ingest_address, "corpus.neighbour")
    time.sleep(3)
    alone = neighbour.stop()

    neighbour = Neighbour(weir.ingest_address, "corpus.neighbour")
    # Hostile clients are elsewhere: what they compute is not to slow the neighbour down.
    with concurrent.futures.ProcessPoolExecutor(
        1, multiprocessing.get_context("spawn"), initializer=os.nice, initargs=(19,)
    ) as elsewhere:
        for case, (method, body, codes) in 3 * list(cases.items()):
            code, details = elsewhere.submit(
                _refusal, weir.ingest_address, method, body
            ).result()
            assert code in {allowed.name for allowed in codes} and details, (case, code, details)
            peak = _peak_resident_bytes(weir.collector.pid)
            print(f"{case}: {code}, peak {peak >> 20} MiB")
            assert peak < MOST_RESIDENT_BYTES, case
        for path, headers, body, statuses in 3 * http_cases:
            status = elsewhere.submit(
                _post_status, weir.http_address, path, headers, body
            ).result()
            assert status in statuses | {503}, (path, body[:8], status)
            peak = _peak_resident_bytes(weir.collector.pid)
            print(f"{path} {len(body) >> 20} MiB: {status}, peak {peak >> 20} MiB")
            assert peak < MOST_RESIDENT_BYTES
    beside = neighbour.stop()
    print(f"neighbour's p99: {1e3 * p99(alone):.1f} ms alone, {1e3 * p99(beside):.1f} ms beside")
    weir.wait_complete()
    answer = weir.query_window(
        protos.query.QueryWindowRequest(window="1h", name="corpus.neighbour")
    )
    total = sum(b.count for entry in answer.series for b in entry.bins)
    assert total == len(alone) + len(beside) + 2, "each push, and one before each series of them"
