"""OTLP over HTTP: protobuf and JSON, plain and gzip, as SDKs and shells send them,
and as nobody should."""

import gzip
import http.client
import json
import re
import socket
import threading
import time
import zlib

import pytest
from google.protobuf import json_format
from google.rpc import error_details_pb2, status_pb2
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.metrics.v1 import metrics_pb2
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

import protos
from conftest import make_deployment

PROTOBUF = "application/x-protobuf"
JSON = "application/json"
MOST_RESIDENT_BYTES = 256 << 20


@pytest.fixture
def sqlite_separate(work_dir, request):
    """Processes of one test's own, on SQLite."""
    deployment = make_deployment(
        work_dir / re.sub(r"\W", "_", request.node.name), "sqlite", "separate", request
    )
    try:
        deployment.start()
        yield deployment
        deployment.stop()
    finally:
        deployment.kill()


def _post(deployment, body: bytes, content_type: str | None, *, path="/v1/metrics", **headers):
    """Status, headers and body of one request on a connection of its own."""
    connection = http.client.HTTPConnection(deployment.http_address, timeout=60)
    try:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if content_type is not None:
            sent["Content-Type"] = content_type
        connection.request("POST", path, body=body, headers=sent)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def _reason(body: bytes, content_type: str) -> str:
    """The reason of the ErrorInfo of an error's answer."""
    status = status_pb2.Status()
    if content_type == JSON:
        json_format.Parse(body, status)
    else:
        status.ParseFromString(body)
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in status.details), status
    return info.reason


def _sum_request(name: str, value: int) -> bytes:
    request = metrics_service_pb2.ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name=name)
    metric.sum.aggregation_temporality = metrics_pb2.AGGREGATION_TEMPORALITY_DELTA
    metric.sum.is_monotonic = True
    metric.sum.data_points.add(time_unix_nano=time.time_ns(), as_int=value)
    return request.SerializeToString()


def _sum_json(name: str, value: str) -> bytes:
    point = {"asInt": value, "timeUnixNano": str(time.time_ns())}
    metric = {
        "name": name,
        "sum": {"dataPoints": [point], "aggregationTemporality": 1, "isMonotonic": True},
    }
    return json.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric]}]}]}).encode()


def _bins(deployment, name: str):
    deployment.wait_complete()
    answer = deployment.query_window(protos.query.QueryWindowRequest(window="1h", name=name))
    return [(entry, [b for b in entry.bins if b.count]) for entry in answer.series]


def _total(deployment, name: str) -> int:
    return sum(int(b.integer_sum) for _, bins in _bins(deployment, name) for b in bins)


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip])
def test_the_python_sdks_http_exporter_is_counted(deployment, compression):
    name = f"http.sdk.{compression.value}"
    exporter = OTLPMetricExporter(
        endpoint=f"http://{deployment.http_address}/v1/metrics", compression=compression
    )
    provider = MeterProvider(
        [PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)],
        resource=Resource({"service.name": "sdk"}),
        shutdown_on_exit=False,
    )
    counter = provider.get_meter("e2e").create_counter(name)
    for i in range(1, 6):
        counter.add(i, {"model": "m"})
        assert provider.force_flush()
    provider.shutdown()
    ((entry, bins),) = _bins(deployment, name)
    assert entry.labels["model"] == "m" and entry.labels["service.name"] == "sdk"
    assert sum(int(b.integer_sum) for b in bins) == 15


def test_json_as_the_specification_shows_it_is_counted(deployment):
    now = time.time_ns()
    attribute = {"key": "my.scope.attribute", "value": {"stringValue": "some scope attribute"}}
    times = {"startTimeUnixNano": str(now - 10**9), "timeUnixNano": str(now)}
    # Ids are hexadecimal here, and base64 anywhere else in protobuf's JSON.
    exemplar = {
        "timeUnixNano": str(now),
        "asDouble": 5,
        "traceId": "5B8EFFF798038103D269B633813FC60C",
        "spanId": "EEE19B7EC3C1B174",
    }
    request = {
        "resourceMetrics": [
            {
                "resource": {
                    "attributes": [
                        {"key": "service.name", "value": {"stringValue": "my.service"}},
                        {"key": "replicas", "value": {"intValue": "3"}},
                    ]
                },
                "scopeMetrics": [
                    {
                        "scope": {
                            "name": "my.library",
                            "version": "1.0.0",
                            "attributes": [attribute],
                        },
                        "metrics": [
                            {
                                "name": "http.json.counter",
                                "unit": "1",
                                "description": "I am a Counter",
                                "aFieldOfTheFuture": {"nested": [1, "two", None]},
                                "sum": {
                                    "aggregationTemporality": 1,
                                    "isMonotonic": True,
                                    "dataPoints": [
                                        {"asDouble": 5, "exemplars": [exemplar], **times}
                                    ],
                                },
                            },
                            {
                                "name": "http.json.gauge",
                                "gauge": {"dataPoints": [{"asInt": 10, "timeUnixNano": now}]},
                            },
                            {
                                "name": "http.json.histogram",
                                "histogram": {
                                    "aggregationTemporality": "AGGREGATION_TEMPORALITY_DELTA",
                                    "dataPoints": [
                                        {
                                            "count": "2",
                                            "sum": 2,
                                            "bucketCounts": ["1", 1],
                                            "explicitBounds": [1],
                                            "min": 0,
                                            "max": 2,
                                            **times,
                                        }
                                    ],
                                },
                            },
                            {
                                # As in the .proto file.
                                "name": "http.json.proto_names",
                                "sum": {
                                    "aggregation_temporality": 1,
                                    "data_points": [{"as_int": "7", "time_unix_nano": str(now)}],
                                },
                            },
                        ],
                    }
                ],
            }
        ]
    }
    body = json.dumps(request).encode()
    for sent, headers in ((body, {}), (gzip.compress(body), {"Content_Encoding": "gzip"})):
        status, answered, answer = _post(deployment, sent, JSON + "; charset=utf-8", **headers)
        assert status == 200, answer
        assert answered["Content-Type"] == JSON
        assert json.loads(answer) == {}
    # The second was a repeat of the first.
    ((entry, bins),) = _bins(deployment, "http.json.counter")
    assert [(b.count, b.sum) for b in bins] == [(1, 5)]
    assert entry.labels["service.name"] == "my.service"
    assert entry.labels["replicas"] == "3"
    assert entry.labels["my.scope.attribute"] == "some scope attribute"
    ((_, bins),) = _bins(deployment, "http.json.histogram")
    assert [(b.count, b.sum, b.min, b.max) for b in bins] == [(2, 2, 0, 2)]
    assert _total(deployment, "http.json.gauge") == 10
    assert _total(deployment, "http.json.proto_names") == 7


def test_both_encodings_plain_and_gzip_are_counted_once_each(deployment):
    for content_type, request in ((PROTOBUF, _sum_request), (JSON, _sum_json)):
        for compressed in (False, True):
            name = f"http.plain.{content_type[-4:]}.{compressed}"
            body = request(name, 41) if content_type == PROTOBUF else request(name, "41")
            headers = {"Content_Encoding": "gzip"} if compressed else {}
            sent = gzip.compress(body) if compressed else body
            for _ in range(3):
                status, answered, answer = _post(deployment, sent, content_type, **headers)
                assert (status, answered["Content-Type"]) == (200, content_type), answer
            assert _total(deployment, name) == 41, name


def test_a_repeat_after_a_restart_is_counted_once(separate):
    body = _sum_request("http.restart", 1 << 40)
    assert _post(separate, body, PROTOBUF)[0] == 200
    separate.collector.kill()
    separate.collector.start()
    assert _post(separate, body, PROTOBUF)[0] == 200
    separate.collector.terminate()
    separate.collector.start()
    assert _post(separate, body, PROTOBUF)[0] == 200
    assert _total(separate, "http.restart") == 1 << 40


def test_rejected_points_are_in_the_answer_and_in_the_log(sqlite_separate):
    good = json.loads(_sum_json("http.partial", "5"))
    (metric,) = good["resourceMetrics"][0]["scopeMetrics"][0]["metrics"]
    metric["sum"]["dataPoints"] += [{"asInt": "1", "timeUnixNano": "0"}] * 3
    status, _, answer = _post(sqlite_separate, json.dumps(good).encode(), JSON)
    assert status == 200
    partial = json.loads(answer)["partialSuccess"]
    assert partial["rejectedDataPoints"] == "3" and "TIME_TOO_OLD" in partial["errorMessage"]
    assert _total(sqlite_separate, "http.partial") == 5
    log = sqlite_separate.collector.log_of_this_life()
    (line,) = [line for line in log.splitlines() if "samples rejected" in line]
    assert "reason=time_too_old" in line and "count=3" in line


REFUSED = [
    ("no content type", b"", None, {}, 415, "INVALID_FIELD"),
    ("text", b"hello", "text/plain", {}, 415, "INVALID_FIELD"),
    ("brotli", b"hello", JSON, {"Content_Encoding": "br"}, 415, "INVALID_FIELD"),
    ("not protobuf", b"\xff" * 50, PROTOBUF, {}, 400, "UNDECODABLE"),
    ("not JSON", b"{]", JSON, {}, 400, "UNDECODABLE"),
    ("a wrong field", b'{"resourceMetrics": 5}', JSON, {}, 400, "UNDECODABLE"),
    ("not UTF-8", b'{"a": "\xff"}', JSON, {}, 400, "UNDECODABLE"),
    ("not gzip", b"hello", PROTOBUF, {"Content_Encoding": "gzip"}, 400, "UNDECODABLE"),
    ("10,000 deep lists", b"[" * 10_000, JSON, {}, 400, "UNDECODABLE"),
    ("10,000 deep objects", b'{"a":' * 10_000 + b"1" + b"}" * 10_000, JSON, {}, 400, "UNDECODABLE"),
]


@pytest.mark.parametrize(
    "body, content_type, headers, status, reason",
    [r[1:] for r in REFUSED],
    ids=[r[0] for r in REFUSED],
)
def test_what_is_wrong_is_refused_with_its_reason(
    deployment, body, content_type, headers, status, reason
):
    found, answered, answer = _post(deployment, body, content_type, **headers)
    assert found == status, answer
    expected = JSON if content_type == JSON else PROTOBUF
    assert answered["Content-Type"] == expected
    assert _reason(answer, expected) == reason
    assert "Retry-After" not in answered


def test_what_is_cut_off_is_refused(deployment):
    body = _sum_request("http.cut", 1)
    packed = gzip.compress(body)
    for cut in (1, len(body) // 2, len(body) - 1):
        assert _post(deployment, body[:cut], PROTOBUF)[0] == 400
    for cut in (1, len(packed) // 2, len(packed) - 1):
        assert _post(deployment, packed[:cut], PROTOBUF, Content_Encoding="gzip")[0] == 400
    assert not _bins(deployment, "http.cut")


def test_other_paths_and_methods_are_refused(deployment):
    assert _post(deployment, b"", PROTOBUF, path="/v1/traces")[0] == 404
    for method in ("GET", "PUT", "OPTIONS"):
        connection = http.client.HTTPConnection(deployment.http_address, timeout=60)
        connection.request(method, "/v1/metrics")
        answer = connection.getresponse()
        assert (answer.status, answer.headers["Allow"]) == (405, "POST"), method
        connection.close()


def _gzip_of_zeros(size: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    block = bytes(1 << 20)
    packed = b"".join(packer.compress(block) for _ in range(size >> 20))
    return packed + packer.flush()


def _most_resident_bytes(process) -> int:
    with open(f"/proc/{process.pid}/status", encoding="ascii") as status:
        (kib,) = [line.split()[1] for line in status if line.startswith("VmHWM:")]
    return int(kib) << 10


def test_bombs_cost_little_and_disturb_nobody(sqlite_separate):
    deployment = sqlite_separate
    bomb = _gzip_of_zeros(1 << 30)
    liar = bomb[:-4] + (50 << 20).to_bytes(4, "little")
    # Fits the limit, and is no request.
    allowed = _gzip_of_zeros(63 << 20)
    little_things = b'{"resourceMetrics":[' + b"{}," * 20_000_000 + b"{}]}"
    long_text = b'{"a":"' + b"x" * (60 << 20) + b'"}'
    # Any of them may be asked to wait while others are being read.
    hostile = [
        (bomb, PROTOBUF, {"Content_Encoding": "gzip"}, {413}),
        (bomb, JSON, {"Content_Encoding": "gzip"}, {413}),
        (liar, PROTOBUF, {"Content_Encoding": "gzip"}, {400}),
        (allowed, PROTOBUF, {"Content_Encoding": "gzip"}, {400, 413}),
        (allowed, JSON, {"Content_Encoding": "gzip"}, {400, 413}),
        (bytes(65 << 20), PROTOBUF, {}, {413}),
        (little_things, JSON, {}, {413}),
        (long_text, JSON, {}, {200, 413}),
        (b"[" * (1 << 20), JSON, {}, {400}),
    ]
    problems = []

    def attack(which):
        for body, content_type, headers, allowed_statuses in hostile[which:] + hostile[:which]:
            try:
                status, _, _ = _post(deployment, body, content_type, **headers)
                if status not in allowed_statuses | {503}:
                    problems.append((body[:20], len(body), content_type, status))
            except OSError as error:
                problems.append((body[:20], len(body), content_type, error))

    attackers = [threading.Thread(target=attack, args=(i,)) for i in (0, 3, 6)]
    for attacker in attackers:
        attacker.start()
    sent = 0
    slowest = 0.0
    while any(attacker.is_alive() for attacker in attackers):
        started = time.monotonic()
        status, answered, answer = _post(deployment, _sum_request("http.beside", 1), PROTOBUF)
        slowest = max(slowest, time.monotonic() - started)
        if status == 503:
            assert int(answered["Retry-After"]) >= 1, answer
            continue
        assert status == 200, answer
        sent += 1
    for attacker in attackers:
        attacker.join()
    resident = _most_resident_bytes(deployment.collector)
    print(f"{sent} beside them, the slowest {slowest:.3f} s; {resident >> 20} MiB resident at most")
    assert not problems
    assert resident < MOST_RESIDENT_BYTES
    assert sent > 0
    assert _total(deployment, "http.beside") == sent


def test_clients_that_are_slow_or_gone_hold_nobody_up(sqlite_separate):
    host, port = sqlite_separate.http_address.split(":")
    head = b"POST /v1/metrics HTTP/1.1\r\nContent-Type: application/json\r\n"
    lazy = [socket.create_connection((host, int(port))) for _ in range(300)]
    for i, connection in enumerate(lazy):
        connection.sendall((b"", b"POST /v1", head, head + b"Content-Length: 99\r\n\r\n{")[i % 4])
    for _ in range(20):
        started = time.monotonic()
        assert _post(sqlite_separate, _sum_request("http.lazy", 1), PROTOBUF)[0] == 200
        assert time.monotonic() - started < 5
    for connection in lazy:
        connection.close()
    assert _total(sqlite_separate, "http.lazy") == 20


def test_a_connection_is_kept_and_a_stop_ends_it(sqlite_separate):
    connection = http.client.HTTPConnection(sqlite_separate.http_address, timeout=60)
    for _ in range(50):
        connection.request(
            "POST", "/v1/metrics", _sum_request("http.kept", 1), {"Content-Type": PROTOBUF}
        )
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        answer.read()
    assert _total(sqlite_separate, "http.kept") == 50
    took = sqlite_separate.collector.terminate()
    assert took < 5
    with pytest.raises(OSError):
        _post(sqlite_separate, b"", PROTOBUF)
    sqlite_separate.collector.start()
