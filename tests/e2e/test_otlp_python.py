"""The unmodified OpenTelemetry SDK for Python, exporting delta temporality over
OTLP/gRPC: every bin of every window equals brute force over what it exported."""

import math
import random
import time

import grpc
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.metrics import Observation
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.metrics.v1 import metrics_pb2
from opentelemetry.sdk import metrics as sdk
from opentelemetry.sdk.metrics import export
from opentelemetry.sdk.resources import Resource

import oracle
import protos
import session
import workload

DELTA = export.AggregationTemporality.DELTA
# The SDK's own "delta" preference leaves up-down counters cumulative, so each
# class of instrument is told.
ALL_DELTA = {
    instrument: DELTA
    for instrument in (
        sdk.Counter,
        sdk.UpDownCounter,
        sdk.Histogram,
        sdk.ObservableCounter,
        sdk.ObservableUpDownCounter,
        sdk.ObservableGauge,
    )
}


def _text(value) -> str:
    """An attribute's value as the label weir makes of it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _labels(resource_attributes, scope, attributes) -> dict[str, str]:
    """A series' labels: the attributes of its point, its scope and its resource;
    what comes first wins."""
    merged = {
        **resource_attributes,
        "otel.scope.name": scope.name,
        "otel.scope.version": scope.version,
        **(scope.attributes or {}),
        **attributes,
    }
    return {key: _text(value) for key, value in merged.items() if value not in ("", None)}


class RecordingExporter(OTLPMetricExporter):
    """The SDK's exporter, and a note of every number point it was handed."""

    def __init__(self, truth: oracle.Oracle, **options):
        super().__init__(**options)
        self._truth = truth
        self.results: list = []

    def export(self, metrics_data, timeout_millis=10_000, **kwargs):
        for resource in metrics_data.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    self._note(resource.resource.attributes, scope.scope, metric)
        result = super().export(metrics_data, timeout_millis, **kwargs)
        self.results.append(result)
        return result

    def _note(self, resource_attributes, scope, metric) -> None:
        data = metric.data
        if isinstance(data, export.Gauge):
            kind = protos.GAUGE
        elif isinstance(data, export.Sum) and data.aggregation_temporality == DELTA:
            kind = protos.COUNTER if data.is_monotonic else protos.UP_DOWN_COUNTER
        else:
            return
        self._truth.add(
            oracle.Sample(
                oracle.series(
                    metric.name, kind, **_labels(resource_attributes, scope, point.attributes)
                ),
                point.time_unix_nano,
                point.value,
            )
            for point in data.data_points
            if math.isfinite(point.value)
        )


def _provider(deployment, truth: oracle.Oracle, **options):
    exporter = RecordingExporter(
        truth,
        endpoint=deployment.ingest_address,
        insecure=True,
        preferred_temporality=ALL_DELTA,
        **options,
    )
    # Never on its own: the test collects when it wants to.
    reader = export.PeriodicExportingMetricReader(exporter, export_interval_millis=float("inf"))
    resource = Resource.create(
        {"service.name": "chat", "service.instance.id": "i-1", "gpu.count": 8, "spot": True}
    )
    return sdk.MeterProvider(metric_readers=[reader], resource=resource), exporter


def test_every_bin_of_every_window_equals_what_the_sdk_exported(deployment, seed):
    generator = random.Random(seed)
    truth = oracle.Oracle()
    provider, exporter = _provider(deployment, truth)
    meter = provider.get_meter("weir.e2e", "1.0", attributes={"scope.attribute": "s"})
    tokens = meter.create_counter("otlp.tokens", unit="{token}")
    cost = meter.create_counter("otlp.cost", unit="USD")
    in_flight = meter.create_up_down_counter("otlp.in_flight")
    temperature = meter.create_gauge("otlp.temperature", unit="Cel")
    readings = iter(range(1, 1 << 30))
    meter.create_observable_gauge(
        "otlp.queue_depth",
        [
            lambda _: [
                Observation(generator.randrange(-50, 50), {"queue": queue}) for queue in ("a", "b")
            ]
        ],
    )
    total = [0]

    def observe_total(_):
        total[0] += next(readings) * 1_000_003
        return [Observation(total[0], {"phase": "prefill"})]

    meter.create_observable_counter("otlp.steps", [observe_total])
    # Long enough for two bins of the finest tier at least.
    started = time.monotonic()
    while time.monotonic() - started < 11:
        for _ in range(generator.randrange(20)):
            attributes = {
                "model": generator.choice(workload.MODELS),
                "stream": generator.random() < 0.5,
                "shard": generator.randrange(2),
            }
            tokens.add(generator.randrange(1 << 40), attributes)
            cost.add(generator.random(), attributes)
            in_flight.add(generator.choice((-3, -1, 1, 2)), attributes)
            temperature.set(generator.gauss(60, 5), {"gpu": str(generator.randrange(4))})
        assert provider.force_flush()
        time.sleep(0.25)
    provider.shutdown()
    assert set(exporter.results) == {export.MetricExportResult.SUCCESS}
    kinds = {(s.series.name, s.series.kind) for s in truth.samples}
    assert len(kinds) == 6, kinds
    deployment.wait_complete()
    compared = workload.check_every_window(deployment, truth, time.time_ns())
    assert compared == len(oracle.WINDOWS) * len(truth.samples)
    print(f"{len(exporter.results)} exports, {len(truth.samples)} points, compared {compared}")


def test_gzip_is_understood(deployment):
    truth = oracle.Oracle()
    provider, exporter = _provider(deployment, truth, compression=grpc.Compression.Gzip)
    provider.get_meter("weir.e2e").create_counter("otlp.gzip").add(3, {"model": "gpt-5"})
    assert provider.force_flush()
    provider.shutdown()
    assert exporter.results == [export.MetricExportResult.SUCCESS]
    deployment.wait_complete()
    assert workload.check_every_window(deployment, truth, time.time_ns(), ("5m",)) == 1


def test_points_that_are_rejected_disturb_nobody(deployment):
    """A gauge that is not a number, beside a counter in the same export."""
    truth = oracle.Oracle()
    provider, exporter = _provider(deployment, truth)
    meter = provider.get_meter("weir.e2e")
    gauge = meter.create_gauge("otlp.not_a_number")
    counter = meter.create_counter("otlp.beside")
    for round_ in range(3):
        gauge.set(math.nan)
        counter.add(1 << round_)
        assert provider.force_flush()
    provider.shutdown()
    assert exporter.results == [export.MetricExportResult.SUCCESS] * 3
    deployment.wait_complete()
    assert workload.check_every_window(deployment, truth, time.time_ns(), ("5m",)) == 3
    listed = deployment.list_series(protos.query.ListSeriesRequest(name="otlp.not_a_number"))
    assert not listed.series


def _point(value, **fields):
    value_field = {"as_int": value} if isinstance(value, int) else {"as_double": value}
    return metrics_pb2.NumberDataPoint(time_unix_nano=time.time_ns(), **value_field, **fields)


def _export(deployment, *metrics):
    request = metrics_service_pb2.ExportMetricsServiceRequest()
    request.resource_metrics.add().scope_metrics.add().metrics.extend(metrics)
    with session.connect(deployment.ingest_address) as channel:
        return metrics_service_pb2_grpc.MetricsServiceStub(channel).Export(
            request, timeout=30, wait_for_ready=True  # the channel gives up an attempt soon
        )


def _sum(name: str, points, temporality=metrics_pb2.AGGREGATION_TEMPORALITY_DELTA, monotonic=True):
    return metrics_pb2.Metric(
        name=name,
        sum=metrics_pb2.Sum(
            data_points=points, aggregation_temporality=temporality, is_monotonic=monotonic
        ),
    )


def test_rejected_points_are_counted_in_the_partial_success(deployment):
    disagreeing = metrics_pb2.HistogramDataPoint(
        time_unix_nano=time.time_ns(), count=2, sum=1.0, explicit_bounds=[1], bucket_counts=[1, 2]
    )
    answer = _export(
        deployment,
        metrics_pb2.Metric(
            name="otlp.partial.histogram",
            histogram=metrics_pb2.Histogram(
                data_points=[disagreeing] * 3,
                aggregation_temporality=metrics_pb2.AGGREGATION_TEMPORALITY_DELTA,
            ),
        ),
        _sum(
            "otlp.partial.unspecified", [_point(1)], metrics_pb2.AGGREGATION_TEMPORALITY_UNSPECIFIED
        ),
        _sum("otlp.partial.good", [_point(5), _point(-1), _point(7), _point(float("inf"))]),
        _sum("otlp.partial.negative", [_point(5), _point(-1)], monotonic=False),
    )
    assert answer.partial_success.rejected_data_points == 3 + 1 + 2, answer
    assert answer.partial_success.error_message
    deployment.wait_complete()
    for name, total in (("otlp.partial.good", None), ("otlp.partial.negative", "4")):
        request = protos.query.QueryWindowRequest(window="5m", name=name)
        (entry,) = deployment.query_window(request).series
        found = [b for b in entry.bins if b.count]
        assert sum(b.count for b in found) == 2, name
        if total:
            assert [b.integer_sum for b in found] == [total]
    for name in ("otlp.partial.histogram", "otlp.partial.unspecified"):
        assert not deployment.list_series(protos.query.ListSeriesRequest(name=name)).series, name


def test_full_success_leaves_the_partial_success_unset(deployment):
    assert not _export(deployment, _sum("otlp.full", [_point(1)])).HasField("partial_success")
    with session.connect(deployment.ingest_address) as channel:
        stub = metrics_service_pb2_grpc.MetricsServiceStub(channel)
        empty = stub.Export(metrics_service_pb2.ExportMetricsServiceRequest(), timeout=30)
    assert not empty.HasField("partial_success")


def test_a_point_that_went_stale_is_not_a_sample(deployment):
    attributes = [common_pb2.KeyValue(key="model", value=common_pb2.AnyValue(string_value="m"))]
    gauge = metrics_pb2.Metric(
        name="otlp.stale",
        gauge=metrics_pb2.Gauge(
            data_points=[
                _point(4, attributes=attributes),
                metrics_pb2.NumberDataPoint(
                    time_unix_nano=time.time_ns(), flags=1, attributes=attributes
                ),
            ]
        ),
    )
    answer = _export(deployment, gauge)
    assert answer.partial_success.rejected_data_points == 0, answer
    deployment.wait_complete()
    (entry,) = deployment.query_window(
        protos.query.QueryWindowRequest(window="5m", name="otlp.stale")
    ).series
    assert dict(entry.labels) == {"model": "m"}
    assert [(b.count, b.integer_sum) for b in entry.bins if b.count] == [(1, "4")]
