"""The C++ recorder, as an application uses it: what it recorded is what is counted,
while the collector it talks to is killed."""

import os
import pathlib
import subprocess
import tempfile
import time

import pytest

import processes
import protos
from conftest import STORES, make_deployment

OPERATIONS = 4000  # of the example, one each millisecond

# (metric, its kind) -> the values it records for operation i.
_RECORDED = {
    ("tokens_used", protos.COUNTER): lambda i: [i % 1000],
    ("ttft_seconds", protos.DISTRIBUTION): lambda i: [0.25 + (i % 64) / 128],
    ("processing_time", protos.DISTRIBUTION): lambda i: [(i % 100) / 1000],
    ("queue_size", protos.GAUGE): lambda i: [i % 17],
    ("vector_operation_time", protos.DISTRIBUTION): lambda i: [(i % 8) / 1000],
    ("vector_count", protos.DISTRIBUTION): lambda i: [i % 50],
    ("error_count", protos.COUNTER): lambda i: [1] if i % 10 == 0 else [],
}
_LABELS = {
    "tokens_used": {"model": "gpt-5"},
    "processing_time": {"operation": "answer", "status": "success"},
    "queue_size": {"queue": "requests"},
    "vector_operation_time": {"operation": "search"},
    "vector_count": {"operation": "search"},
    "error_count": {"error_type": "timeout", "context": "search"},
}


class Example:
    """weir-example-recorder as a process."""

    def __init__(self, address: str, operations: int):
        self._process = subprocess.Popen(
            [processes.executable("weir-example-recorder"), address, str(operations)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=processes.environment(),
        )

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def wait(self, *, codes=(0,), timeout: float = 90) -> str:
        """What it printed; asserts that it ended with one of `codes`."""
        try:
            output, _ = self._process.communicate(timeout=timeout)
        finally:
            self._process.kill()
        print(output, end="")
        assert self._process.returncode in codes, output
        return output


def _totals(deployment, name: str, kind: int):
    """(labels, count, exact sum or None, sum, min, max) of the one series of a metric."""
    request = protos.query.QueryWindowRequest(
        window="1h",
        name=name,
        kind=kind,
        functions=[
            protos.query.Function.Value(f"FUNCTION_{f}") for f in ("COUNT", "SUM", "MIN", "MAX")
        ],
    )
    (series,) = deployment.query_window(request).series
    bins = [b for b in series.bins if b.count]
    return (
        dict(series.labels),
        sum(b.count for b in bins),
        sum(int(b.integer_sum) for b in bins) if bins[0].HasField("integer_sum") else None,
        sum(b.sum for b in bins),
        min(b.min for b in bins),
        max(b.max for b in bins),
    )


def _check(deployment, operations: int) -> int:
    """Every total is that of the calls made. Returns the samples compared."""
    deployment.wait_complete()
    compared = 0
    for (name, kind), values_of in _RECORDED.items():
        values = [value for i in range(operations) for value in values_of(i)]
        labels, count, integer_sum, total, least, most = _totals(deployment, name, kind)
        assert labels == {"service": "example"} | _LABELS.get(name, {}), name
        assert count == len(values), name
        if all(isinstance(value, int) for value in values):
            assert integer_sum == sum(values), name
        assert total == pytest.approx(sum(values), rel=1e-12), name
        assert (least, most) == (min(values), max(values)), name
        compared += count
    _, count, _, cpu_seconds, _, _ = _totals(deployment, "system_cpu_seconds", protos.COUNTER)
    assert count == 1 and 0 <= cpu_seconds < 60
    _, count, memory_bytes, _, _, _ = _totals(deployment, "system_memory_bytes", protos.GAUGE)
    assert count == 1 and 1 << 20 < memory_bytes < 1 << 30
    return compared + 2


def test_every_sample_is_counted_once_while_the_collector_is_killed(own_deployment):
    example = Example(own_deployment.ingest_address, OPERATIONS)
    kills = 0
    while example.running and kills < 3:
        time.sleep(0.9)
        own_deployment.collector.kill()
        kills += 1
        time.sleep(0.2)
        own_deployment.collector.start()
    output = example.wait()
    assert kills == 3, "the example was done before the collector was killed"
    assert "1 session(s)" in output
    compared = _check(own_deployment, OPERATIONS)
    assert f"{compared} of {compared} samples acknowledged" in output


def test_a_collector_that_comes_late_gets_everything(own_deployment):
    address = own_deployment.ingest_address
    own_deployment.collector.kill()
    example = Example(address, 1000)
    time.sleep(1.5)
    assert example.running, "it waits for its samples to be durable"
    own_deployment.collector.start()
    example.wait()
    _check(own_deployment, 1000)


@pytest.fixture(params=STORES)
def forgetful(request, work_dir):
    """Separate processes; a log that has gone holds answers back for 2 s only."""
    deployment = make_deployment(
        pathlib.Path(tempfile.mkdtemp(prefix="d-", dir=work_dir)),
        request.param,
        "separate",
        request,
        aggregator_extra=("--silent_after", "2s"),
    )
    try:
        deployment.start()
        yield deployment
        deployment.stop()
    finally:
        deployment.kill()


def test_when_a_log_is_lost_a_new_session_goes_on_and_nothing_is_counted_twice(forgetful):
    """The collector comes back with another log, so that it knows no session."""
    example = Example(forgetful.ingest_address, OPERATIONS)
    time.sleep(1.7)
    forgetful.wait_complete()
    forgetful.collector.kill()
    os.rename(forgetful.folder / "wal", forgetful.folder / "wal.lost")
    forgetful.collector.start()
    # Whether something was in doubt is a matter of milliseconds.
    output = example.wait(codes=(0, 1))
    assert "2 session(s)" in output
    assert output.startswith("OK") or "session_lost" in output
    forgetful.wait_complete()
    _, count, integer_sum, _, _, _ = _totals(forgetful, "tokens_used", protos.COUNTER)
    assert integer_sum <= sum(i % 1000 for i in range(OPERATIONS))
    # What the lost log held went with it: a second of samples, perhaps.
    assert OPERATIONS - 3000 <= count <= OPERATIONS, output
