"""Prometheus remote write: 1.0 and 2.0 by hand, and Debian's own Prometheus."""

import collections
import http.client
import json
import math
import os
import pathlib
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request

import pytest

import processes
import protos
from conftest import make_deployment

V1 = "application/x-protobuf;proto=prometheus.WriteRequest"
V2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request"
MINUTE_MS = 60_000
TOOLS = pathlib.Path(__file__).resolve().parents[2] / "build" / "tools"
_WRITTEN = "X-Prometheus-Remote-Write-{}-Written"

Answer = collections.namedtuple("Answer", "status samples histograms exemplars text retry_after")


def _snappy(text: bytes) -> bytes:
    """A block of literals: valid, if larger than it need be."""
    block = bytearray()
    size = len(text)
    while size >= 0x80:
        block.append(size & 0x7F | 0x80)
        size >>= 7
    block.append(size)
    for begin in range(0, len(text), 1 << 16):
        literal = text[begin : begin + (1 << 16)]
        block += bytes([61 << 2]) + (len(literal) - 1).to_bytes(2, "little") + literal
    return bytes(block)


def _post(deployment, body: bytes, content_type: str, encoding: str = "snappy") -> Answer:
    connection = http.client.HTTPConnection(deployment.http_address, timeout=60)
    try:
        headers = {"Content-Type": content_type, "Content-Encoding": encoding}
        connection.request("POST", "/api/v1/write", body=body, headers=headers)
        answer = connection.getresponse()
        return Answer(
            answer.status,
            *(int(answer.headers[_WRITTEN.format(s)]) for s in ("Samples", "Histograms", "Exemplars")),
            answer.read().decode(),
            answer.headers.get("Retry-After"),
        )
    finally:
        connection.close()


def _send(deployment, request) -> Answer:
    version = V1 if isinstance(request, protos.write_v1.WriteRequest) else V2
    return _post(deployment, _snappy(request.SerializeToString()), version)


class V2Builder:
    """A request of 2.0, whose texts are symbols."""

    def __init__(self):
        self.request = protos.write_v2.Request(symbols=[""])

    def series(self, kind: str, labels: dict):
        symbols = self.request.symbols
        refs = []
        for text in (text for label in sorted(labels.items()) for text in label):
            if text not in symbols:
                symbols.append(text)
            refs.append(list(symbols).index(text))
        series = self.request.timeseries.add(labels_refs=refs)
        series.metadata.type = getattr(protos.write_v2.Metadata, f"METRIC_TYPE_{kind}")
        return series


def _add_v1(request, labels: dict):
    series = request.timeseries.add()
    for name, value in sorted(labels.items()):
        series.labels.add(name=name, value=value)
    return series


_GAUGE_FUNCTIONS = [
    getattr(protos.query, f"FUNCTION_{name}") for name in ("COUNT", "SUM", "MIN", "MAX", "LAST")
]


def _series(deployment, name: str, wait: bool = True, **more) -> dict:
    """(kind, labels) -> non-empty bins, for a name."""
    if wait:
        deployment.wait_complete()
    answer = deployment.query_window(
        protos.query.QueryWindowRequest(window="1h", name=name, **more)
    )
    return {
        (entry.kind, tuple(sorted(entry.labels.items()))): [b for b in entry.bins if b.count]
        for entry in answer.series
    }


def _increase(totals) -> float:
    """What a running total of unknown start has added since its first sample."""
    return sum(
        after - before if after >= before else after for before, after in zip(totals, totals[1:])
    )


@pytest.fixture
def start_ms():
    """The start of a minute that is some minutes ago."""
    return int(time.time() // 60 - 8) * MINUTE_MS


@pytest.fixture(params=["1.0", "2.0"])
def version(request):
    return request.param


def test_counters_and_gauges_are_what_was_sent(deployment, version, start_ms, seed):
    counter, gauge = f"rw{version}_requests_total", f"rw{version}_temperature"
    totals = [10.0, 12.5, 13.0, 4.0, 9.0, 9.0]  # a restart in the middle
    values = [math.sin(i + seed) for i in range(6)]
    requests = []
    for i, (total, value) in enumerate(zip(totals, values)):
        at = start_ms + i * 20_000
        if version == "1.0":
            request = protos.write_v1.WriteRequest()
            _add_v1(request, {"__name__": counter, "job": "e2e"}).samples.add(
                value=total, timestamp=at
            )
            _add_v1(request, {"__name__": gauge, "job": "e2e"}).samples.add(
                value=value, timestamp=at
            )
        else:
            builder = V2Builder()
            request = builder.request
            builder.series("COUNTER", {"__name__": counter, "job": "e2e"}).samples.add(
                value=total, timestamp=at
            )
            builder.series("GAUGE", {"__name__": gauge, "job": "e2e"}).samples.add(
                value=value, timestamp=at
            )
        requests.append(request)
    for request in requests:
        for _ in range(2):  # a repeat counts once, and is answered alike
            assert _send(deployment, request) == Answer(204, 2, 0, 0, "", None)
    counted = _series(deployment, counter)
    assert list(counted) == [(protos.COUNTER, (("job", "e2e"),))]
    (bins,) = counted.values()
    assert sum(b.sum for b in bins) == pytest.approx(_increase(totals))
    ((key, bins),) = _series(deployment, gauge, functions=_GAUGE_FUNCTIONS).items()
    assert key == (protos.GAUGE, (("job", "e2e"),))
    expected = collections.defaultdict(list)
    for i, value in enumerate(values):
        expected[(start_ms + i * 20_000) // MINUTE_MS * MINUTE_MS].append(value)
    assert len(bins) == len(expected)
    for one in bins:
        in_bin = expected[one.start_time.ToMilliseconds()]
        assert one.count == len(in_bin)
        assert one.sum == pytest.approx(sum(in_bin))
        assert (one.min, one.max, one.last) == (min(in_bin), max(in_bin), in_bin[-1])


def test_a_start_that_is_known_counts_in_full(deployment, start_ms):
    builder = V2Builder()
    builder.series("COUNTER", {"__name__": "rw_started"}).samples.add(
        value=7, timestamp=start_ms, start_timestamp=start_ms - 5_000
    )
    assert _send(deployment, builder.request).status == 204
    ((_, bins),) = _series(deployment, "rw_started").items()
    assert sum(b.sum for b in bins) == 7


def _native(histogram, values, at: int) -> None:
    """Fills a native histogram of schema 3 with positive values."""
    counts = collections.Counter(math.ceil(math.log2(value) * 8) for value in values)
    histogram.timestamp = at
    histogram.schema = 3
    histogram.count_int = len(values)
    histogram.sum = sum(values)
    previous_index, previous_count = None, 0
    for index in sorted(counts):
        if previous_index is not None and index == previous_index + 1:
            histogram.positive_spans[-1].length += 1
        else:
            offset = index if previous_index is None else index - previous_index - 1
            histogram.positive_spans.add(offset=offset, length=1)
        histogram.positive_deltas.append(counts[index] - previous_count)
        previous_index, previous_count = index, counts[index]


def test_native_histograms_are_distributions(deployment, version, start_ms):
    name = f"rw{version}_native_seconds"
    values = [0.01 * 1.17**i for i in range(60)]
    for i, seen in enumerate((10, 30, 60)):
        if version == "1.0":
            request = protos.write_v1.WriteRequest()
            series = _add_v1(request, {"__name__": name})
        else:
            builder = V2Builder()
            request = builder.request
            series = builder.series("HISTOGRAM", {"__name__": name})
        _native(series.histograms.add(), values[:seen], start_ms + i * 10_000)
        assert _send(deployment, request) == Answer(204, 0, 1, 0, "", None)
    ((key, bins),) = _series(deployment, name, quantiles=[0.5]).items()
    assert key == (protos.DISTRIBUTION, ())
    added = values[10:]  # the first point is the baseline
    assert sum(b.count for b in bins) == len(added)
    assert sum(b.sum for b in bins) == pytest.approx(sum(added))
    (one,) = bins
    exact = sorted(added)[(len(added) - 1) // 2]
    assert one.quantiles[0].value == pytest.approx(exact, rel=0.1)


def test_classic_histograms_are_distributions(deployment, version, start_ms):
    name = f"rw{version}_classic_seconds"
    bounds = [0.1, 0.5, 1.0, math.inf]
    values = [0.05, 0.3, 0.3, 0.7, 2.0, 0.1, 0.9, 5.0, 0.2]
    for i, seen in enumerate((3, 5, 9)):
        at = start_ms + i * 10_000
        builder = V2Builder()
        request = protos.write_v1.WriteRequest() if version == "1.0" else builder.request

        def add(labels, value):
            if version == "1.0":
                series = _add_v1(request, labels)
            else:
                series = builder.series("HISTOGRAM", labels)
            series.samples.add(value=value, timestamp=at)

        for bound in bounds:
            le = "+Inf" if math.isinf(bound) else str(bound)
            counted = sum(value <= bound for value in values[:seen])
            add({"__name__": f"{name}_bucket", "le": le}, counted)
        add({"__name__": f"{name}_count"}, seen)
        add({"__name__": f"{name}_sum"}, sum(values[:seen]))
        assert _send(deployment, request).status == 204
    ((key, bins),) = _series(deployment, name).items()
    assert key == (protos.DISTRIBUTION, ())
    assert sum(b.count for b in bins) == 6
    assert sum(b.sum for b in bins) == pytest.approx(sum(values[3:]))


def test_bad_samples_are_named_and_their_neighbours_kept(deployment, start_ms):
    request = protos.write_v1.WriteRequest()
    for value in (1.0, 2.0):
        _add_v1(request, {"__name__": "rw_good"}).samples.add(value=value, timestamp=start_ms)
    _add_v1(request, {"job": "nameless"}).samples.add(value=1, timestamp=start_ms)
    for value in (math.inf, -math.inf):
        _add_v1(request, {"__name__": "rw_infinite"}).samples.add(value=value, timestamp=start_ms)
    for _ in range(2):
        answer = _send(deployment, request)
        assert (answer.status, answer.samples, answer.retry_after) == (400, 2, None)
        assert answer.text.startswith("2 samples are written and 3 rejected")
        assert "1 x NAME_INVALID: " in answer.text and "2 x VALUE_NOT_FINITE: " in answer.text
        assert answer.text.count("\n") == 1 and answer.text.endswith("\n")
    ((_, bins),) = _series(deployment, "rw_good").items()
    assert [b.count for b in bins] == [2]


def test_what_cannot_be_read_is_refused_and_disturbs_nobody(deployment, start_ms):
    request = protos.write_v1.WriteRequest()
    _add_v1(request, {"__name__": "rw_undisturbed"}).samples.add(value=1, timestamp=start_ms)
    plain = request.SerializeToString()
    invalid_utf8 = plain.replace(b"rw_undisturbed", b"rw_\xff\xfedisturbed")
    for status, reason, body, kind, encoding in (
        (400, "UNDECODABLE", plain, V1, "snappy"),  # not compressed
        (400, "UNDECODABLE", _snappy(plain)[:-1], V1, "snappy"),
        (400, "UNDECODABLE", _snappy(plain[:-1]), V1, "snappy"),
        (400, "UNDECODABLE", _snappy(invalid_utf8), V1, "snappy"),
        (400, "UNDECODABLE", b"", V1, "snappy"),
        (400, "UNDECODABLE", b"\x80\x80\x80\x1f" + plain, V1, "snappy"),
        (413, "MESSAGE_TOO_LARGE", b"\xff\xff\xff\xff\x0f" + plain, V1, "snappy"),
        (413, "MESSAGE_TOO_LARGE", _snappy(b"\x0a\x00" * 3_000_000), V1, "snappy"),
        (415, "INVALID_FIELD", _snappy(plain), "application/json", "snappy"),
        (415, "INVALID_FIELD", _snappy(plain), "application/x-protobuf;proto=x.Y", "snappy"),
        (415, "INVALID_FIELD", _snappy(plain), V1, "gzip"),
    ):
        answer = _post(deployment, body, kind, encoding)
        assert (answer.status, answer.samples) == (status, 0), answer
        assert answer.text.startswith(f"{reason}: "), answer
    assert _send(deployment, request).status == 204
    ((_, bins),) = _series(deployment, "rw_undisturbed").items()
    assert sum(b.count for b in bins) == 1


def test_one_replica_of_a_pair_is_listened_to(work_dir, request, start_ms):
    deployment = make_deployment(
        work_dir / "replicas",
        "sqlite",
        "separate",
        request,
        collector_extra=("--remote_write.failover_after", "2s"),
    )
    try:
        deployment.start()
        kept = []

        def send(replica: str, value: float) -> None:
            message = protos.write_v1.WriteRequest()
            labels = {"__name__": "rw_pair", "cluster": "eu", "__replica__": replica}
            _add_v1(message, labels).samples.add(value=value, timestamp=start_ms)
            assert _send(deployment, message) == Answer(204, 1, 0, 0, "", None)

        for i in range(5):
            send("a", i)
            send("b", 100 + i)
            kept.append(i)
        _, metrics = processes.http_get(deployment.collector.addresses["ops"], "/metrics")
        assert (
            'weir_deduplicated_samples_total{protocol="remote_write",'
            'reason="replica_not_elected"} 5' in metrics
        )
        time.sleep(2.1)  # a has ended
        for i in range(5, 10):
            send("b", 100 + i)
            kept.append(100 + i)
        send("a", 10)
        ((key, bins),) = _series(deployment, "rw_pair").items()
        assert key == (protos.GAUGE, (("cluster", "eu"),))
        assert sum(b.count for b in bins) == len(kept)
        assert sum(b.sum for b in bins) == sum(kept)
        assert deployment.collector.metric("weir_replica_takeovers_total") == 1
        deployment.stop()
    finally:
        deployment.kill()


class Prometheus:
    """The distribution's Prometheus, which scrapes one target and remote-writes."""

    def __init__(self, folder: pathlib.Path, target: str, write_to: str):
        path = os.pathsep.join([str(TOOLS), os.environ.get("PATH", "")])
        self._program = shutil.which("prometheus", path=path)
        assert self._program, "no prometheus: scripts/test puts it into build/tools"
        self._folder = folder
        self._target = target
        self._write_to = write_to
        self.address = f"127.0.0.1:{processes.free_port()}"
        self._child = None

    def _configure(self, targets: list) -> None:
        # JSON is YAML.
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
            "scrape_configs": [{"job_name": "weir", "static_configs": [{"targets": targets}]}],
            "remote_write": [
                {
                    "url": f"http://{self._write_to}/api/v1/write",
                    "queue_config": {"batch_send_deadline": "1s"},
                    "metadata_config": {"send_interval": "1s"},
                }
            ],
        }
        (self._folder / "prometheus.yml").write_text(json.dumps(config))

    def start(self) -> None:
        self._folder.mkdir(parents=True)
        self._configure([self._target])
        with open(self._folder / "prometheus.log", "wb") as log:
            self._child = subprocess.Popen(
                [
                    self._program,
                    f"--config.file={self._folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={self._folder / 'tsdb'}",
                    f"--web.listen-address={self.address}",
                    "--web.enable-lifecycle",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 30
        while not self._ready():
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.1)

    def _ready(self) -> bool:
        try:
            return processes.http_get(self.address, "/-/ready")[0] == 200
        except OSError:
            return False

    def stop_scraping(self) -> None:
        self._configure([])
        reload = urllib.request.Request(f"http://{self.address}/-/reload", method="POST")
        with urllib.request.urlopen(reload, timeout=10):
            pass

    def samples(self) -> list:
        """(labels, values) of every series."""
        query = urllib.parse.urlencode({"query": '{__name__=~".+"}[1h]'})
        status, body = processes.http_get(self.address, f"/api/v1/query?{query}", timeout=30)
        assert status == 200, body
        return [
            (entry["metric"], [float(value) for _, value in entry["values"]])
            for entry in json.loads(body)["data"]["result"]
        ]

    def stop(self) -> None:
        """Ends it once it has sent what it has."""
        self._child.terminate()
        assert self._child.wait(60) == 0, self.log()

    def kill(self) -> None:
        if self._child is not None and self._child.poll() is None:
            self._child.kill()
            self._child.wait()

    def log(self) -> str:
        return (self._folder / "prometheus.log").read_text(errors="replace")[-5000:]


def test_what_prometheus_has_scraped_is_counted(work_dir, request):
    deployment = make_deployment(work_dir / "scraped", "sqlite", "all_in_one", request)
    prometheus = None
    try:
        deployment.start()
        prometheus = Prometheus(
            work_dir / "prometheus", deployment.collector.addresses["ops"], deployment.http_address
        )
        prometheus.start()
        time.sleep(12)
        prometheus.stop_scraping()
        time.sleep(2.5)  # a scrape that had begun
        scraped = prometheus.samples()
        prometheus.stop()
        deployment.wait_complete()
        log = prometheus.log()
        assert "level=error" not in log and "non-recoverable" not in log, log

        by_name = collections.defaultdict(list)
        for labels, values in scraped:
            by_name[labels["__name__"]].append((labels, values))
        families = {name[: -len("_bucket")] for name in by_name if name.endswith("_bucket")}
        checked = collections.Counter()
        for name, entries in by_name.items():
            family = re.sub("_(sum|count)$", "", name)
            if name.endswith("_bucket"):
                continue
            kind = protos.COUNTER if name.endswith("_total") else protos.GAUGE
            what = "sum"
            if family != name and family in families:
                kind, what = protos.DISTRIBUTION, name.rsplit("_", 1)[1]
            if kind == protos.DISTRIBUTION:
                window = _series(deployment, family, wait=False)
            else:
                functions = _GAUGE_FUNCTIONS if kind == protos.GAUGE else []
                window = _series(deployment, name, wait=False, functions=functions)
            for labels, values in entries:
                key = tuple(sorted((k, v) for k, v in labels.items() if k != "__name__"))
                bins = window.get((kind, key), [])
                if kind == protos.GAUGE:
                    assert sum(b.count for b in bins) == len(values), (name, key)
                    assert bins[-1].last == values[-1], (name, key)
                else:
                    got = sum(getattr(b, what) for b in bins)
                    assert got == pytest.approx(_increase(values), rel=1e-9, abs=1e-9), (name, key)
                checked[kind] += 1
        print(f"series checked: {dict(checked)}")
        assert checked[protos.COUNTER] >= 20 and checked[protos.GAUGE] >= 10
        assert checked[protos.DISTRIBUTION] >= 6
        assert any(
            _increase(values) > 0 for labels, values in scraped if "_count" in labels["__name__"]
        )
        deployment.stop()
    finally:
        if prometheus is not None:
            prometheus.kill()
        deployment.kill()
