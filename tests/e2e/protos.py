"""The weir.v1 stubs, generated from proto/ when first imported; never committed.

Only weir's own files are generated, and remote write's, which nobody packages. The google.rpc and opentelemetry messages
come from the packages everybody uses, so the tests also prove that our trimmed
copies of them agree on the wire.
"""

import hashlib
import importlib
import os
import pathlib
import shutil
import sys
import tempfile

from grpc_tools import protoc

SOURCE_ROOT = pathlib.Path(__file__).resolve().parents[2]
PROTO_ROOT = SOURCE_ROOT / "proto"
_FILES = ("error_reason", "sample", "ingest_service", "query_service")


def _generate() -> pathlib.Path:
    """Returns a folder with the stubs, named by the content they came from, so
    that test processes which start together never see a half-written one."""
    sources = [PROTO_ROOT / "weir" / "v1" / f"{name}.proto" for name in _FILES]
    sources += [PROTO_ROOT / "prometheus" / f"write_{version}.proto" for version in ("v1", "v2")]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    parent = pathlib.Path(
        os.environ.get("WEIR_E2E_STUBS", os.path.join(tempfile.gettempdir(), "weir-e2e-stubs"))
    )
    done = parent / digest
    if done.is_dir():
        return done
    parent.mkdir(parents=True, exist_ok=True)
    scratch = pathlib.Path(tempfile.mkdtemp(dir=parent))
    arguments = [
        "protoc",
        f"-I{PROTO_ROOT}",
        f"--python_out={scratch}",
        f"--grpc_python_out={scratch}",
    ]
    # grpcio-tools carries google/protobuf/*.proto beside itself.
    arguments.insert(1, f"-I{pathlib.Path(protoc.__file__).parent / '_proto'}")
    if protoc.main(arguments + [str(path) for path in sources]) != 0:
        raise RuntimeError("protoc failed")
    try:
        scratch.rename(done)
    except OSError:  # another process was first
        shutil.rmtree(scratch)
    return done


sys.path.insert(0, str(_generate()))

error_reason = importlib.import_module("weir.v1.error_reason_pb2")
sample = importlib.import_module("weir.v1.sample_pb2")
ingest = importlib.import_module("weir.v1.ingest_service_pb2")
ingest_grpc = importlib.import_module("weir.v1.ingest_service_pb2_grpc")
query = importlib.import_module("weir.v1.query_service_pb2")
query_grpc = importlib.import_module("weir.v1.query_service_pb2_grpc")
write_v1 = importlib.import_module("prometheus.write_v1_pb2")
write_v2 = importlib.import_module("prometheus.write_v2_pb2")

GAUGE = sample.KIND_GAUGE
COUNTER = sample.KIND_COUNTER
UP_DOWN_COUNTER = sample.KIND_UP_DOWN_COUNTER
DISTRIBUTION = sample.KIND_DISTRIBUTION


def reason_name(number: int) -> str:
    return error_reason.ErrorReason.Name(number)
