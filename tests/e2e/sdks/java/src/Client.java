import io.opentelemetry.api.common.AttributeKey;
import io.opentelemetry.api.common.Attributes;
import io.opentelemetry.api.metrics.Meter;
import io.opentelemetry.api.metrics.ObservableLongMeasurement;
import io.opentelemetry.exporter.otlp.http.metrics.OtlpHttpMetricExporter;
import io.opentelemetry.exporter.otlp.metrics.OtlpGrpcMetricExporter;
import io.opentelemetry.sdk.common.CompletableResultCode;
import io.opentelemetry.sdk.metrics.Aggregation;
import io.opentelemetry.sdk.metrics.InstrumentSelector;
import io.opentelemetry.sdk.metrics.InstrumentType;
import io.opentelemetry.sdk.metrics.SdkMeterProvider;
import io.opentelemetry.sdk.metrics.View;
import io.opentelemetry.sdk.metrics.data.AggregationTemporality;
import io.opentelemetry.sdk.metrics.data.MetricData;
import io.opentelemetry.sdk.metrics.export.MetricExporter;
import io.opentelemetry.sdk.metrics.export.PeriodicMetricReader;
import io.opentelemetry.sdk.resources.Resource;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.time.Duration;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.function.BiConsumer;
import java.util.function.Consumer;
import java.util.function.Supplier;
import java.util.stream.Collectors;

/** The OpenTelemetry SDK for Java, unmodified, driven as ../../README.md says. */
public final class Client {
  private static final AttributeKey<String> MODEL = AttributeKey.stringKey("model");
  private static final AttributeKey<Boolean> STREAM = AttributeKey.booleanKey("stream");
  private static final AttributeKey<Long> SHARD = AttributeKey.longKey("shard");
  private static final List<Attributes> ATTRIBUTES =
      List.of(
          Attributes.empty(),
          Attributes.of(MODEL, "gpt-5", STREAM, true, SHARD, 0L),
          Attributes.of(MODEL, "claude-opus-4", STREAM, false, SHARD, 1L),
          Attributes.of(MODEL, "llama-3-70b"),
          Attributes.of(SHARD, -7L));

  /** Keeps the outcome of the last export; the reader's flush succeeds in any case. */
  private static final class NotingExporter implements MetricExporter {
    private final MetricExporter exporter;
    private volatile CompletableResultCode last = CompletableResultCode.ofFailure();

    NotingExporter(MetricExporter exporter) {
      this.exporter = exporter;
    }

    @Override
    public CompletableResultCode export(Collection<MetricData> metrics) {
      last = exporter.export(metrics);
      return last;
    }

    @Override
    public AggregationTemporality getAggregationTemporality(InstrumentType instrument) {
      return exporter.getAggregationTemporality(instrument);
    }

    @Override
    public CompletableResultCode flush() {
      return exporter.flush();
    }

    @Override
    public CompletableResultCode shutdown() {
      return exporter.shutdown();
    }
  }

  /** How to draw a value, and how to record it for ATTRIBUTES[index]. */
  private record Instrument(
      String name, Supplier<Number> draw, BiConsumer<Integer, Number> record) {}

  private final Random random;
  private final NotingExporter exporter;
  private final SdkMeterProvider provider;
  private final List<Instrument> instruments;

  private Client(Map<String, String> options) {
    random = new Random(Long.parseLong(options.getOrDefault("seed", "1")));
    exporter = new NotingExporter(makeExporter(options));
    provider =
        SdkMeterProvider.builder()
            .setResource(
                Resource.getDefault()
                    .merge(
                        Resource.create(
                            Attributes.of(
                                AttributeKey.stringKey("service.name"),
                                "sdk-java",
                                AttributeKey.stringKey("service.instance.id"),
                                options.getOrDefault("instance", "1")))))
            .registerMetricReader(
                PeriodicMetricReader.builder(exporter).setInterval(Duration.ofDays(1)).build())
            .registerView(
                InstrumentSelector.builder().setName("sdk.size").build(),
                View.builder()
                    .setAggregation(Aggregation.base2ExponentialBucketHistogram())
                    .build())
            .build();
    Meter meter = provider.meterBuilder("weir.e2e.sdks").setInstrumentationVersion("1.0").build();
    var requests = meter.counterBuilder("sdk.requests").setUnit("{request}").build();
    var cost = meter.counterBuilder("sdk.cost").ofDoubles().setUnit("USD").build();
    var inFlight = meter.upDownCounterBuilder("sdk.in_flight").build();
    var duration = meter.histogramBuilder("sdk.duration").setUnit("ms").build();
    var size = meter.histogramBuilder("sdk.size").setUnit("By").build();
    var temperature = meter.gaugeBuilder("sdk.temperature").setUnit("Cel").build();
    // What the callbacks report: index of the attributes -> value.
    Map<Integer, Long> steps = new ConcurrentHashMap<>();
    Map<Integer, Long> open = new ConcurrentHashMap<>();
    Map<Integer, Long> depth = new ConcurrentHashMap<>();
    meter.counterBuilder("sdk.steps").buildWithCallback(observe(steps));
    meter.upDownCounterBuilder("sdk.open").buildWithCallback(observe(open));
    meter.gaugeBuilder("sdk.depth").ofLongs().buildWithCallback(observe(depth));

    instruments =
        List.of(
            new Instrument(
                "sdk.requests",
                () -> integer(0, 1L << 40),
                (i, value) -> requests.add(value.longValue(), ATTRIBUTES.get(i))),
            new Instrument(
                "sdk.cost",
                random::nextDouble,
                (i, value) -> cost.add(value.doubleValue(), ATTRIBUTES.get(i))),
            new Instrument(
                "sdk.in_flight",
                () -> integer(-5, 5),
                (i, value) -> inFlight.add(value.longValue(), ATTRIBUTES.get(i))),
            new Instrument(
                "sdk.duration",
                () -> magnitude(4.3),
                (i, value) -> duration.record(value.doubleValue(), ATTRIBUTES.get(i))),
            new Instrument(
                "sdk.size",
                () -> magnitude(6),
                (i, value) -> size.record(value.doubleValue(), ATTRIBUTES.get(i))),
            new Instrument(
                "sdk.temperature",
                () -> -50 + 150 * random.nextDouble(),
                (i, value) -> temperature.set(value.doubleValue(), ATTRIBUTES.get(i))),
            new Instrument(
                "sdk.steps",
                () -> integer(0, 999_999),
                (i, value) -> steps.merge(i, value.longValue(), Long::sum)),
            new Instrument(
                "sdk.open",
                () -> integer(-5, 5),
                (i, value) -> open.merge(i, value.longValue(), Long::sum)),
            new Instrument(
                "sdk.depth",
                () -> integer(-50, 50),
                (i, value) -> depth.put(i, value.longValue())));
  }

  private static MetricExporter makeExporter(Map<String, String> options) {
    String endpoint = options.get("endpoint");
    String compression = options.getOrDefault("compression", "none");
    AggregationTemporality temporality =
        AggregationTemporality.valueOf(options.getOrDefault("temporality", "delta").toUpperCase());
    if (options.getOrDefault("protocol", "grpc").equals("grpc")) {
      return OtlpGrpcMetricExporter.builder()
          .setEndpoint(endpoint)
          .setCompression(compression)
          .setAggregationTemporalitySelector(instrument -> temporality)
          .build();
    }
    return OtlpHttpMetricExporter.builder()
        .setEndpoint(endpoint + "/v1/metrics")
        .setCompression(compression)
        .setAggregationTemporalitySelector(instrument -> temporality)
        .build();
  }

  private static Consumer<ObservableLongMeasurement> observe(Map<Integer, Long> values) {
    return measurement ->
        values.forEach((index, value) -> measurement.record(value, ATTRIBUTES.get(index)));
  }

  /** Draws from smallest to largest, both included. */
  private long integer(long smallest, long largest) {
    return random.nextLong(smallest, largest + 1);
  }

  /** Draws zero now and then, else from a thousandth to ten to the largest. */
  private double magnitude(double largest) {
    return random.nextDouble() < 0.05
        ? 0
        : Math.pow(10, -3 + random.nextDouble() * (largest + 3));
  }

  private static String json(Object value) {
    return value instanceof String ? "\"" + value + "\"" : value.toString();
  }

  private static String json(Attributes attributes) {
    return attributes.asMap().entrySet().stream()
        .map(entry -> json(entry.getKey().getKey()) + ":" + json(entry.getValue()))
        .collect(Collectors.joining(",", "{", "}"));
  }

  private void round() {
    StringBuilder lines = new StringBuilder();
    for (long left = integer(60, 119); left > 0; left--) {
      Instrument one = instruments.get(random.nextInt(instruments.size()));
      int index = random.nextInt(ATTRIBUTES.size());
      Number value = one.draw.get();
      one.record.accept(index, value);
      lines.append(
          String.format(
              "{\"instrument\":%s,\"attributes\":%s,\"value\":%s}\n",
              json(one.name), json(ATTRIBUTES.get(index)), value));
    }
    exporter.last = CompletableResultCode.ofFailure();
    provider.forceFlush().join(30, TimeUnit.SECONDS);
    lines.append(exporter.last.join(30, TimeUnit.SECONDS).isSuccess() ? "ok\n" : "failed\n");
    System.out.print(lines);
    System.out.flush();
  }

  public static void main(String[] arguments) throws IOException {
    Map<String, String> options = new ConcurrentHashMap<>();
    for (int i = 0; i + 1 < arguments.length; i += 2) {
      options.put(arguments[i].substring(2), arguments[i + 1]);
    }
    Client client = new Client(options);
    int rounds = Integer.parseInt(options.getOrDefault("rounds", "0"));
    for (int round = 0; round < rounds; round++) {
      client.round();
    }
    if (rounds == 0) {
      BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
      String line;
      while ((line = in.readLine()) != null && !line.equals("quit")) {
        client.round();
      }
    }
    client.provider.shutdown().join(30, TimeUnit.SECONDS);
    System.exit(0);
  }
}
