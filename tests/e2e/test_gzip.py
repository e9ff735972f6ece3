"""Every RPC is also called with gzip, and with gzip that is not what it seems.

The RPCs are those reflection lists, so a new one without a case here fails.
"""

import base64
import functools
import gzip
import os
import pathlib
import queue
import tempfile
import time
import zlib

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from grpc_tools import protoc

import errors
import oracle
import protos
import raw_call
import session
from conftest import make_deployment

# gRPC sends a message as it is when gzip would make it longer. So each gets a
# field of zeros that nobody knows.
PADDING_FIELD = 15
PADDING = b"\x7a\xe8\x07" + bytes(1000)
REFLECTION = "grpc.reflection.v1.ServerReflection"

GIB = 1 << 30
# How much more memory a process may take while it is bombed. What collectors say
# to aggregators may be of 64 MiB; everything else is far smaller.
MAX_GROWTH_BYTES = 32 << 20
MAX_PEER_GROWTH_BYTES = 160 << 20


def _reflection_messages():
    """ServerReflectionRequest and -Response, which cannot be had by reflection."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "set"
        arguments = [f"-I{protos.PROTO_ROOT}", f"--descriptor_set_out={out}"]
        source = protos.PROTO_ROOT / "grpc" / "reflection" / "v1" / "reflection.proto"
        assert protoc.main(["protoc", *arguments, str(source)]) == 0
        files = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    (method,) = pool.FindServiceByName(REFLECTION).methods
    return method


class Server:
    """One address, and every method that it serves."""

    def __init__(self, address: str):
        self.address = address
        self.channel = session.connect(address)
        self._bootstrap = _reflection_messages()
        self._pool = descriptor_pool.DescriptorPool()
        self.services = [entry.name for entry in self._ask(list_services="").service]
        self.methods = {}
        for service in self.services:
            self._add(self._ask(file_containing_symbol=service).file_descriptor_proto)
            for method in self._pool.FindServiceByName(service).methods:
                self.methods[method.full_name] = method

    def _ask(self, **question):
        request = message_factory.GetMessageClass(self._bootstrap.input_type)(**question)
        (answer,) = self.converse(self._bootstrap, [request], 1)
        return getattr(answer, answer.WhichOneof("message_response"))

    def _add(self, serialized) -> None:
        files = {
            file.name: file
            for file in map(descriptor_pb2.FileDescriptorProto.FromString, serialized)
        }

        def add(name):
            for dependency in files[name].dependency:
                add(dependency)
            try:
                self._pool.FindFileByName(name)
            except KeyError:
                self._pool.Add(files[name])

        for name in files:
            add(name)

    def converse(self, method, requests, answer_count: int, compression=None) -> list:
        """Sends the requests and returns that many answers, or the error that comes
        instead of one as (code, reason, message)."""
        assert PADDING_FIELD not in method.input_type.fields_by_number
        answer_class = message_factory.GetMessageClass(method.output_type)
        outgoing: queue.SimpleQueue = queue.SimpleQueue()
        for request in requests:
            outgoing.put(request)
        if not method.client_streaming:
            outgoing.put(None)
        # On the wire a unary call is a stream of one message each way.
        call = self.channel.stream_stream(
            _path(method.full_name),
            request_serializer=lambda message: message.SerializeToString() + PADDING,
            response_deserializer=answer_class.FromString,
        )(iter(outgoing.get, None), timeout=30, compression=compression)
        answers: list = []
        try:
            for answer in call:
                answers.append(answer)
                if len(answers) == answer_count:
                    break
        except grpc.RpcError as error:
            answers.append((error.code(), errors.reason(error), error.details()))
        finally:
            call.cancel()
            outgoing.put(None)
        return answers


def _path(full_name: str) -> str:
    service, _, method = full_name.rpartition(".")
    return f"/{service}/{method}"


@pytest.fixture(scope="module")
def weir(work_dir, request):
    deployment = make_deployment(work_dir / "gzip", "sqlite", "separate", request)
    try:
        deployment.start()
        deployment.wait_complete()  # so the slots are claimed, and health says so
        yield deployment
        deployment.stop()
    finally:
        deployment.kill()


@pytest.fixture(scope="module")
def servers(weir):
    return Server(weir.ingest_address), Server(weir.query_address)


# --- what each method is asked: a list of messages, and how many answers it has. ---
# `name` is a metric's, and differs from call to call. Messages are of any class or
# dictionaries; what is sent is made of their bytes.


def _push(name):
    sample = {"name": name, "kind": "KIND_COUNTER", "integer_value": "7"}
    return [{"samples": [sample]}], 1


def _stream_batches(name):
    counter = oracle.series(name, protos.COUNTER)
    batch = session.BatchEncoder().encode(1, [oracle.Sample(counter, time.time_ns(), 7)])
    message = protos.ingest.StreamBatchesRequest
    opened = protos.ingest.OpenSession(session_id=os.urandom(16))
    return [message(open_session=opened), message(batch=batch)], 2


def _export(name):
    point = {"time_unix_nano": str(time.time_ns()), "as_int": "7"}
    metric = {"name": name, "gauge": {"data_points": [point]}}
    return [{"resource_metrics": [{"scope_metrics": [{"metrics": [metric]}]}]}], 1


def _list_by_name(name):
    return [{"name": name}], 1


def _query_window(name):
    end = oracle.align_down(time.time_ns() // oracle.SECOND, 10) + 10
    times = {
        field: oracle.timestamp_of(second * oracle.SECOND).ToJsonString()
        for field, second in (("start_time", end - 300), ("end_time", end))
    }
    return [{"window": "5m", "name": name, **times}], 1


def _list_top_series(_):
    return [{"limit": 3}], 1


def _deliver(_):
    wal_id = base64.b64encode(os.urandom(16)).decode()
    return [{"hello": {"wal_id": wal_id, "slot_count": 16, "collector": "gzip"}}], 1


def _health(service):
    return [{"service": service}], 1


def _reflect(_):
    extension = {"containing_type": "weir.v1.Nothing", "extension_number": 1}
    questions = [
        {"list_services": ""},
        {"file_by_filename": "weir/v1/error_reason.proto"},
        {"file_by_filename": "nothing.proto"},
        {"file_containing_symbol": "grpc.health.v1.Health.Check"},
        {"file_containing_symbol": "weir.v1.Nothing"},
        {"file_containing_extension": extension},
        {"all_extension_numbers_of_type": "google.rpc.ErrorInfo"},
        {},
    ]
    return [{"host": "weir", **question} for question in questions], len(questions)


INGEST = {
    "weir.v1.IngestService.Push": _push,
    "weir.v1.IngestService.StreamBatches": _stream_batches,
    "opentelemetry.proto.collector.metrics.v1.MetricsService.Export": _export,
}
QUERIES = {
    "weir.v1.QueryService.QueryWindow": _query_window,
    "weir.v1.QueryService.ListSeries": _list_by_name,
    "weir.v1.QueryService.ListTopSeries": _list_top_series,
}
OTHERS = {
    "grpc.health.v1.Health.Check": _health,
    "grpc.health.v1.Health.Watch": _health,
    f"{REFLECTION}.ServerReflectionInfo": _reflect,
    "grpc.reflection.v1alpha.ServerReflection.ServerReflectionInfo": _reflect,
    # Last: a collector that says hello and no more keeps answers from being complete.
    "weir.peer.v1.DeliveryService.Deliver": _deliver,
}
CASES = {**INGEST, **QUERIES, **OTHERS}


def _messages(method, requests) -> list:
    request_class = message_factory.GetMessageClass(method.input_type)
    return [
        (
            json_format.ParseDict(request, request_class())
            if isinstance(request, dict)
            else request_class.FromString(request.SerializeToString())
        )
        for request in requests
    ]


def _ask(server, name, requests, count, compression) -> list:
    method = server.methods[name]
    answers = server.converse(method, _messages(method, requests), count, compression)
    for answer in answers:
        for field in ("complete_until", "missing", "kept_since"):  # the clock's, not ours
            if not isinstance(answer, tuple) and field in answer.DESCRIPTOR.fields_by_name:
                answer.ClearField(field)
    return answers


def _serving(servers, name):
    found = [server for server in servers if name in server.methods]
    assert found, f"{name} is served nowhere"
    return found


def test_every_rpc_has_a_case(servers):
    assert {name for server in servers for name in server.methods} == set(CASES)


def test_what_is_sent_with_gzip_counts_the_same(weir, servers):
    names = {}
    for method, case in INGEST.items():
        (server,) = _serving(servers, method)
        answers = []
        for compression in (grpc.Compression.NoCompression, grpc.Compression.Gzip):
            name = f"gzip.{compression.name.lower()}.{method.lower()}"
            names[name] = method
            answers.append(_ask(server, method, *case(name), compression))
        plain, compressed = answers
        assert plain == compressed, method
        assert not any(isinstance(answer, tuple) for answer in plain), plain
    weir.wait_complete()
    for name in names:
        request = protos.query.QueryWindowRequest(window="1h", name=name)
        (found,) = weir.query_window(request).series
        bins = [b for b in found.bins if b.count]
        assert [(b.count, b.sum) for b in bins] == [(1, 7)], name


ASKED = "gzip.asked"
# What a method is asked about, and the error that may answer.
ARGUMENTS = {
    **{method: {ASKED: None, "": grpc.StatusCode.INVALID_ARGUMENT} for method in QUERIES},
    **{method: {"": None} for method in OTHERS},
    **{
        f"grpc.health.v1.Health.{method}": {
            "": None,
            # Known to one of the servers.
            "weir.v1.IngestService": grpc.StatusCode.NOT_FOUND,
            "weir.v1.QueryService": grpc.StatusCode.NOT_FOUND,
            "weir.v1.Nothing": grpc.StatusCode.NOT_FOUND,
        }
        for method in ("Check", "Watch")
    },
}


@pytest.mark.parametrize("method", ARGUMENTS)
def test_what_is_asked_with_gzip_is_answered_the_same(weir, servers, method):
    if method in QUERIES:
        sample = protos.ingest.Sample(name=ASKED, kind=protos.COUNTER, integer_value=7)
        weir.push(protos.ingest.PushRequest(samples=[sample]))
        weir.wait_complete()
    for server in _serving(servers, method):
        for argument, error in ARGUMENTS[method].items():
            requests, count = CASES[method](argument)
            plain, compressed = (
                _ask(server, method, requests, count, compression)
                for compression in (grpc.Compression.NoCompression, grpc.Compression.Gzip)
            )
            assert plain == compressed, (server.address, argument)
            assert len(plain) == count
            assert {a[0] for a in plain if isinstance(a, tuple)} <= {error}, plain


# --- gzip that is not what it seems ---


@functools.lru_cache(maxsize=None)
def _bomb(prefix: bytes) -> bytes:
    """1 MB that inflates to `prefix` and 1 GiB of zeros."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    block = bytes(1 << 20)
    parts = [deflater.compress(prefix)]
    parts += [deflater.compress(block) for _ in range(GIB // len(block))]
    return b"".join([*parts, deflater.flush()])


def _memory(pid: int, key: str) -> int:
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) << 10
    raise AssertionError(f"no {key} of {pid}")


def _reset_peak(pid: int) -> None:
    pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")


BAD_MESSAGES = {
    # Not protobuf from the first byte on.
    "zeros": lambda: _bomb(b""),
    # One field of 1 GiB that no message has: protobuf would take it.
    "field": lambda: _bomb(b"\x7a\x80\x80\x80\x80\x04"),
    "truncated": lambda: gzip.compress(PADDING)[:-9],
    "damaged": lambda: gzip.compress(PADDING)[:-8] + b"checksum",
    "no gzip": lambda: b"\xff" * 1000,
    "nothing of it": lambda: b"\x1f\x8b",
}


@pytest.mark.parametrize("bad", BAD_MESSAGES)
def test_a_bad_message_is_refused_by_every_rpc_and_costs_no_memory(weir, servers, bad):
    message = BAD_MESSAGES[bad]()
    pids = {server.address: p.pid for server, p in zip(servers, (weir.collector, weir.aggregator))}
    for server in servers:
        pid = pids[server.address]
        for name in server.methods:
            peer = name.startswith("weir.peer.")
            _reset_peak(pid)
            before = _memory(pid, "VmRSS")
            answer = raw_call.call(server.address, _path(name), message)
            growth = _memory(pid, "VmHWM") - before
            code = {c.value[0]: c for c in grpc.StatusCode}[answer.code]
            print(f"{bad}: {name}: {code.name}, {growth / (1 << 20):.1f} MiB")
            reason = {
                grpc.StatusCode.INVALID_ARGUMENT: b"UNDECODABLE",
                grpc.StatusCode.RESOURCE_EXHAUSTED: b"MESSAGE_TOO_LARGE",
            }.get(code)
            assert reason and reason in answer.trailers, (name, answer)
            if len(message) < 10_000:
                assert code == grpc.StatusCode.INVALID_ARGUMENT, (name, answer)
            elif bad == "field" and not peer:
                assert code == grpc.StatusCode.RESOURCE_EXHAUSTED, (name, answer)
            assert growth < (MAX_PEER_GROWTH_BYTES if peer else MAX_GROWTH_BYTES), name
        unknown = raw_call.call(server.address, "/weir.v1.QueryService/Nothing", message)
        assert unknown.code == grpc.StatusCode.UNIMPLEMENTED.value[0], unknown
        (health,) = _ask(server, "grpc.health.v1.Health.Check", *_health(""), grpc.Compression.Gzip)
        assert health.status == 1, health
