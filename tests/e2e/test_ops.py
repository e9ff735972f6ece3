"""What an operator sees: metrics, health, configuration, and how fast it starts."""

import json
import random
import re
import subprocess
import time
import urllib.request

import grpc
import pytest
from prometheus_client import parser

import errors
import grpcurl
import oracle
import processes
import protos
from conftest import make_deployment

# weir_<noun>_<unit>[_total], and the names every Prometheus client has for its
# process; base units only.
NAME = re.compile(r"(weir|process)(_[a-z][a-z0-9]*)+")
SUFFIXES = ("_milliseconds", "_ms", "_us", "_minutes", "_kilobytes", "_kib", "_mib", "_percent")


def _families(address: str) -> dict:
    """What /metrics says, through the parser of somebody else."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as response:
        assert response.status == 200
        assert response.headers["Content-Type"].startswith("text/plain"), response.headers[
            "Content-Type"
        ]
        return {
            family.name: family
            for family in parser.text_string_to_metric_families(response.read().decode())
        }


def _ops_addresses(deployment) -> list[str]:
    return [process.addresses["ops"] for process in deployment.processes]


def test_metrics_parse_and_follow_the_naming_rule(deployment):
    for address in _ops_addresses(deployment):
        families = _families(address)
        assert families
        for family in families.values():
            assert NAME.fullmatch(family.name), family.name
            assert not family.name.endswith(SUFFIXES), family.name
            assert family.documentation, f"{family.name} has no HELP"
            assert family.type in (
                "counter",
                "gauge",
                "histogram",
            ), f"{family.name} is {family.type}"
            for sample in family.samples:
                if family.type == "counter":
                    assert sample.name.endswith(("_total", "_created")), sample.name
                else:
                    assert not sample.name.endswith("_total"), sample.name


def test_metrics_count_what_was_taken_in(deployment):
    def totals() -> dict:
        return {
            (address, sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for address in _ops_addresses(deployment)
            for family in _families(address).values()
            if family.type == "counter"
            for sample in family.samples
        }

    deployment.wait_complete()
    before = totals()
    one = protos.ingest.Sample(name="ops.counted", kind=protos.GAUGE, value=1)
    bad = protos.ingest.Sample(name="", kind=protos.GAUGE, value=1)
    deployment.push(protos.ingest.PushRequest(samples=[one] * 1234 + [bad] * 77))
    deployment.wait_complete()
    after = totals()
    grown = {key: after[key] - before.get(key, 0) for key in after}
    for wanted in (1234, 77):
        assert (
            wanted in grown.values()
        ), f"no counter grew by {wanted}: { {k: v for k, v in grown.items() if v} }"


def test_healthz_is_fine(deployment):
    for address in _ops_addresses(deployment):
        status, body = processes.http_get(address, "/healthz")
        assert (status, body.strip()) == (200, "ok"), body
        assert processes.http_get(address, "/no/such/path")[0] == 404


def _await(what, wanted, timeout: float = 30) -> None:
    """Until `what()` is `wanted`, or the test fails."""
    deadline = time.monotonic() + timeout
    while (got := what()) != wanted:
        assert time.monotonic() < deadline, f"{got}, not {wanted}, after {timeout} s"
        time.sleep(0.05)


INGEST_HEALTH = (
    "",
    "weir.v1.IngestService",
    "opentelemetry.proto.collector.metrics.v1.MetricsService",
)
QUERY_HEALTH = ("", "weir.v1.QueryService", "weir.peer.v1.DeliveryService")


def _grpc_health(address: str, names: tuple[str, ...]) -> set[str]:
    """What grpc.health.v1 says of the server and of its services."""
    return {
        json.loads(
            grpcurl.run(address, "grpc.health.v1.Health/Check", data={"service": name}).stdout
        )["status"]
        for name in names
    }


def _collector_health(deployment) -> tuple[int, set[str]]:
    status, _ = processes.http_get(deployment.collector.addresses["ops"], "/healthz")
    return status, _grpc_health(deployment.ingest_address, INGEST_HEALTH)


def test_grpc_health_says_what_healthz_says(deployment):
    _await(lambda: _collector_health(deployment), (200, {"SERVING"}))
    _await(lambda: _grpc_health(deployment.query_address, QUERY_HEALTH), {"SERVING"})


def test_a_collector_is_well_without_an_aggregator_until_its_log_is_full(work_dir, request, seed):
    """It acknowledges while it can, and must keep its traffic; then it must not."""
    deployment = make_deployment(
        work_dir / "health",
        "sqlite",
        "separate",
        request,
        collector_extra=("--wal.quota_bytes", "2MiB", "--wal.segment_bytes", "256KiB"),
    )
    generator = random.Random(seed)
    many = protos.ingest.PushRequest(
        samples=[
            protos.ingest.Sample(name="ops.full", kind=protos.GAUGE, value=generator.random())
            for _ in range(20_000)
        ]
    )
    try:
        deployment.start()
        _await(lambda: _collector_health(deployment), (200, {"SERVING"}))
        _await(lambda: deployment.collector.metric("weir_delivery_streaming"), 1)
        deployment.aggregator.kill()
        _await(lambda: deployment.collector.metric("weir_delivery_streaming"), 0)
        assert deployment.push(many).accepted_count == len(many.samples)
        assert _collector_health(deployment) == (200, {"SERVING"})

        def refusal() -> str:
            try:
                deployment.push(many, timeout=3)
            except grpc.RpcError as error:
                # What found no room waits for it, and its caller for the answer.
                if error.code() != grpc.StatusCode.DEADLINE_EXCEEDED:
                    return errors.reason(error)
            return ""

        _await(refusal, "LOG_FULL")
        _await(lambda: _collector_health(deployment), (503, {"NOT_SERVING"}))

        deployment.aggregator.start()
        _await(lambda: _collector_health(deployment), (200, {"SERVING"}))
        _await(lambda: _grpc_health(deployment.query_address, QUERY_HEALTH), {"SERVING"})
        deployment.stop()
    finally:
        deployment.kill()


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
@pytest.mark.parametrize("topology", ["all_in_one", "separate"])
def test_it_serves_within_two_seconds(work_dir, request, store, topology):
    """Measured and printed; asserted loosely, since the machine may be busy."""
    deployment = make_deployment(work_dir / f"start-{store}-{topology}", store, topology, request)
    try:
        for life in ("empty", "restarted", "restarted"):
            for process in deployment.processes:
                print(f"{process.name} on {store}, {life}: served after {process.start():.3f} s")
            deployment.stop()
        started = time.monotonic()
        deployment.start()
        elapsed = time.monotonic() - started
        deployment.stop()
        assert elapsed < 10, elapsed
    finally:
        deployment.kill()


def _run(name: str, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [processes.executable(name), *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        stdin=subprocess.DEVNULL,
        env=processes.environment(),
    )


def _arguments(name: str, folder) -> list[str]:
    return {
        "weir": ["run", "--data_dir", str(folder)],
        "weir-collector": ["--wal.directory", str(folder)],
        "weir-aggregator": ["--store.url", f"sqlite:{folder}/store.db"],
    }[name]


EXECUTABLES = ("weir", "weir-collector", "weir-aggregator")


@pytest.mark.parametrize("name", EXECUTABLES)
def test_print_config_prints_what_config_reads(name, tmp_path):
    first = _run(name, *_arguments(name, tmp_path), "--ops_listen", "127.0.0.1:0", "--print_config")
    assert first.returncode == 0, first.stderr
    assert "ops_listen: " in first.stdout and "127.0.0.1:0" in first.stdout
    file = tmp_path / "weir.yaml"
    file.write_text(first.stdout)
    command = ["run"] if name == "weir" else []
    second = _run(name, *command, "--config", str(file), "--print_config")
    assert second.returncode == 0, second.stderr
    assert second.stdout == first.stdout


def test_print_config_masks_secrets():
    shown = _run(
        "weir-aggregator",
        "--store.url",
        "postgresql://weir:hunter2@localhost/weir",
        "--print_config",
    )
    assert shown.returncode == 0, shown.stderr
    assert "hunter2" not in shown.stdout + shown.stderr
    assert "<secret>" in shown.stdout


@pytest.mark.parametrize("name", EXECUTABLES)
def test_an_unknown_key_stops_the_start_and_is_named_with_its_line(name, tmp_path):
    file = tmp_path / "weir.yaml"
    file.write_text("# A comment.\nops_listen: 127.0.0.1:0\nlisten_on: 127.0.0.1:0\n")
    refused = _run(name, *_arguments(name, tmp_path), "--config", str(file))
    assert refused.returncode not in (0, None) and refused.returncode > 0
    assert f"{file}:3" in refused.stderr, refused.stderr
    assert "listen_on" in refused.stderr


@pytest.mark.parametrize("name", EXECUTABLES)
@pytest.mark.parametrize(
    "wrong",
    [
        ["--no_such_flag", "1"],
        ["--ops_listen", "nowhere"],
        ["--config", "/no/such/file"],
        ["stray"],
    ],
)
def test_a_wrong_flag_stops_the_start_and_is_named(name, wrong, tmp_path):
    refused = _run(name, *_arguments(name, tmp_path), *wrong)
    assert refused.returncode > 0, refused.stdout
    named = any(word.lstrip("-") in refused.stderr for word in wrong)
    assert named, refused.stderr


def test_a_yaml_file_configures_as_flags_do(work_dir):
    folder = work_dir / "yaml"
    folder.mkdir()
    aggregator_port = processes.free_port()
    (folder / "aggregator.yaml").write_text(
        f"listen: 127.0.0.1:{aggregator_port}\nops_listen: 127.0.0.1:0\n"
        f"store:\n  url: sqlite:{folder}/store.db\n"
    )
    (folder / "collector.yaml").write_text(
        f"listen: 127.0.0.1:0\nhttp_listen: []\nops_listen: 127.0.0.1:0\n"
        f"wal:\n  directory: {folder}/wal\n"
        f"aggregator:\n  address: 127.0.0.1:{aggregator_port}\n"
    )
    deployment = processes.Deployment(folder, f"sqlite:{folder}/store.db")
    deployment.aggregator = processes.Process(
        "weir-aggregator",
        ["--config", str(folder / "aggregator.yaml")],
        folder / "a.log",
        ("aggregator", "ops"),
    )
    deployment.collector = processes.Process(
        "weir-collector",
        ["--config", str(folder / "collector.yaml")],
        folder / "c.log",
        ("collector", "ops"),
    )
    deployment.processes = [deployment.aggregator, deployment.collector]
    try:
        deployment.start()
        one = protos.ingest.Sample(name="ops.yaml", kind=protos.GAUGE, value=1)
        deployment.push(protos.ingest.PushRequest(samples=[one]))
        deployment.wait_complete()
        deployment.stop()
    finally:
        deployment.kill()


def test_a_data_directory_has_one_user(own_deployment):
    """A second process on the same log is refused instead of sharing it."""
    if own_deployment.separate:
        folder = own_deployment.folder / "wal"
        second = _run(
            "weir-collector",
            "--wal.directory",
            str(folder),
            "--listen",
            "127.0.0.1:0",
            "--ops_listen",
            "127.0.0.1:0",
            "--aggregator.address",
            own_deployment.query_address,
        )
    else:
        folder = own_deployment.folder / "data"
        second = _run(
            "weir",
            "run",
            "--data_dir",
            str(folder),
            "--listen",
            "127.0.0.1:0",
            "--query_listen",
            "127.0.0.1:0",
            "--ops_listen",
            "127.0.0.1:0",
        )
    assert second.returncode > 0
    assert str(folder) in second.stderr, second.stderr
    own_deployment.wait_complete()


def test_a_message_that_is_too_large_is_refused_and_named(deployment):
    """Whatever the limit is, it is below 100 MiB, and the next call works."""
    huge = protos.ingest.Sample(
        name="ops.huge", kind=protos.GAUGE, value=1, labels={"l": "v" * (100 << 20)}
    )
    with pytest.raises(grpc.RpcError) as raised:
        deployment.push(protos.ingest.PushRequest(samples=[huge]))
    assert raised.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, raised.value
    one = protos.ingest.Sample(
        name="ops.small", kind=protos.GAUGE, value=1, event_time=oracle.timestamp_of(time.time_ns())
    )
    assert deployment.push(protos.ingest.PushRequest(samples=[one])).accepted_count == 1
