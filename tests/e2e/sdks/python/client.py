"""The OpenTelemetry SDK for Python, unmodified, driven as ../README.md says."""

import argparse
import json
import random
import sys

import grpc
from opentelemetry.exporter.otlp.proto import http as otlp_http
from opentelemetry.exporter.otlp.proto.grpc import metric_exporter as grpc_exporter
from opentelemetry.exporter.otlp.proto.http import metric_exporter as http_exporter
from opentelemetry.metrics import Observation
from opentelemetry.sdk import metrics as sdk
from opentelemetry.sdk.metrics import export, view
from opentelemetry.sdk.resources import Resource

ATTRIBUTES = (
    {},
    {"model": "gpt-5", "stream": True, "shard": 0},
    {"model": "claude-opus-4", "stream": False, "shard": 1},
    {"model": "llama-3-70b"},
    {"shard": -7},
)
NEVER_MILLIS = 24 * 3600 * 1000


def _noting(base):
    """`base`, an exporter class, with the outcome of its last export in `ok`."""

    class Noting(base):
        ok = True

        def export(self, *arguments, **named):
            result = super().export(*arguments, **named)
            self.ok = result is export.MetricExportResult.SUCCESS
            return result

    return Noting


def _exporter(options):
    temporality = getattr(export.AggregationTemporality, options.temporality.upper())
    # The SDK's own "delta" leaves up-down counters cumulative, so each is told.
    named = {
        "preferred_temporality": {
            instrument: temporality
            for instrument in (
                sdk.Counter,
                sdk.UpDownCounter,
                sdk.Histogram,
                sdk.ObservableCounter,
                sdk.ObservableUpDownCounter,
            )
        }
    }
    gzip = options.compression == "gzip"
    if options.protocol == "grpc":
        named["compression"] = grpc.Compression.Gzip if gzip else grpc.Compression.NoCompression
        return _noting(grpc_exporter.OTLPMetricExporter)(
            endpoint=options.endpoint, insecure=True, **named
        )
    compression = otlp_http.Compression.Gzip if gzip else otlp_http.Compression.NoCompression
    return _noting(http_exporter.OTLPMetricExporter)(
        endpoint=f"{options.endpoint}/v1/metrics", compression=compression, **named
    )


class Client:
    def __init__(self, options):
        self._random = random.Random(options.seed)
        self._exporter = _exporter(options)
        self._provider = sdk.MeterProvider(
            metric_readers=[
                export.PeriodicExportingMetricReader(
                    self._exporter, export_interval_millis=NEVER_MILLIS
                )
            ],
            resource=Resource.create(
                {"service.name": "sdk-python", "service.instance.id": options.instance}
            ),
            views=[
                view.View(
                    instrument_name="sdk.size",
                    aggregation=view.ExponentialBucketHistogramAggregation(),
                )
            ],
        )
        meter = self._provider.get_meter("weir.e2e.sdks", "1.0")
        requests = meter.create_counter("sdk.requests", unit="{request}")
        cost = meter.create_counter("sdk.cost", unit="USD")
        in_flight = meter.create_up_down_counter("sdk.in_flight")
        duration = meter.create_histogram("sdk.duration", unit="ms")
        size = meter.create_histogram("sdk.size", unit="By")
        temperature = meter.create_gauge("sdk.temperature", unit="Cel")
        # What the callbacks report: index of the attributes -> value.
        self._steps: dict[int, int] = {}
        self._open: dict[int, int] = {}
        self._depth: dict[int, int] = {}
        meter.create_observable_counter("sdk.steps", [_observe(self._steps)])
        meter.create_observable_up_down_counter("sdk.open", [_observe(self._open)])
        meter.create_observable_gauge("sdk.depth", [_observe(self._depth)])

        def synchronous(call):
            return lambda index, value: call(value, ATTRIBUTES[index])

        def increase(totals):
            return lambda index, value: totals.update({index: totals.get(index, 0) + value})

        pick = self._random
        # Name, how to draw a value, how to record it.
        self._instruments = (
            ("sdk.requests", lambda: pick.randrange(1 << 40), synchronous(requests.add)),
            ("sdk.cost", pick.random, synchronous(cost.add)),
            ("sdk.in_flight", lambda: pick.randrange(-5, 6), synchronous(in_flight.add)),
            ("sdk.duration", lambda: self._magnitude(4.3), synchronous(duration.record)),
            ("sdk.size", lambda: self._magnitude(6), synchronous(size.record)),
            ("sdk.temperature", lambda: pick.uniform(-50, 100), synchronous(temperature.set)),
            ("sdk.steps", lambda: pick.randrange(1_000_000), increase(self._steps)),
            ("sdk.open", lambda: pick.randrange(-5, 6), increase(self._open)),
            ("sdk.depth", lambda: pick.randrange(-50, 51), self._depth.__setitem__),
        )

    def _magnitude(self, largest: float) -> float:
        """Zero now and then, else from a thousandth to ten to the `largest`."""
        if self._random.random() < 0.05:
            return 0.0
        return 10 ** self._random.uniform(-3, largest)

    def round(self) -> bool:
        for _ in range(self._random.randrange(60, 120)):
            name, draw, record = self._random.choice(self._instruments)
            index = self._random.randrange(len(ATTRIBUTES))
            value = draw()
            record(index, value)
            line = {"instrument": name, "attributes": ATTRIBUTES[index], "value": value}
            print(json.dumps(line))
        self._exporter.ok = False
        self._provider.force_flush(timeout_millis=30_000)
        return self._exporter.ok

    def quit(self) -> None:
        self._provider.shutdown()


def _observe(values):
    return lambda _: [Observation(value, ATTRIBUTES[i]) for i, value in list(values.items())]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--protocol", choices=("grpc", "http/protobuf"), default="grpc")
    parser.add_argument("--temporality", choices=("delta", "cumulative"), default="delta")
    parser.add_argument("--compression", choices=("none", "gzip"), default="none")
    parser.add_argument("--instance", default="1")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=0)
    options = parser.parse_args()
    client = Client(options)
    for _ in range(options.rounds):
        print("ok" if client.round() else "failed", flush=True)
    if options.rounds == 0:
        for line in sys.stdin:
            if line.strip() == "quit":
                break
            print("ok" if client.round() else "failed", flush=True)
    client.quit()


if __name__ == "__main__":
    main()
