// The OpenTelemetry SDK for Go, unmodified, driven as ../README.md says.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"math"
	"math/rand"
	"os"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/metric"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/resource"
)

const never = 24 * time.Hour

var attributes = [][]attribute.KeyValue{
	{},
	{attribute.String("model", "gpt-5"), attribute.Bool("stream", true), attribute.Int("shard", 0)},
	{attribute.String("model", "claude-opus-4"), attribute.Bool("stream", false),
		attribute.Int("shard", 1)},
	{attribute.String("model", "llama-3-70b")},
	{attribute.Int("shard", -7)},
}

var (
	endpoint    = flag.String("endpoint", "", "http://host:port")
	protocol    = flag.String("protocol", "grpc", "grpc or http/protobuf")
	temporality = flag.String("temporality", "delta", "delta or cumulative")
	compression = flag.String("compression", "none", "none or gzip")
	instance    = flag.String("instance", "1", "service.instance.id")
	seed        = flag.Int64("seed", 1, "of the values")
	rounds      = flag.Int("rounds", 0, "to run at once; 0 obeys the standard input")
)

func newExporter(ctx context.Context) (sdk.Exporter, error) {
	selected := metricdata.DeltaTemporality
	if *temporality == "cumulative" {
		selected = metricdata.CumulativeTemporality
	}
	selector := func(sdk.InstrumentKind) metricdata.Temporality { return selected }
	if *protocol == "grpc" {
		options := []otlpmetricgrpc.Option{
			otlpmetricgrpc.WithEndpointURL(*endpoint),
			otlpmetricgrpc.WithTemporalitySelector(selector),
		}
		if *compression == "gzip" {
			options = append(options, otlpmetricgrpc.WithCompressor("gzip"))
		}
		return otlpmetricgrpc.New(ctx, options...)
	}
	options := []otlpmetrichttp.Option{
		otlpmetrichttp.WithEndpointURL(*endpoint + "/v1/metrics"),
		otlpmetrichttp.WithTemporalitySelector(selector),
	}
	if *compression == "gzip" {
		options = append(options, otlpmetrichttp.WithCompression(otlpmetrichttp.GzipCompression))
	}
	return otlpmetrichttp.New(ctx, options...)
}

// An instrument: how to draw a value, and how to record it for attributes[index].
type instrument struct {
	name   string
	draw   func() any
	record func(index int, value any)
}

type client struct {
	provider    *sdk.MeterProvider
	random      *rand.Rand
	instruments []instrument
	out         *bufio.Writer
}

// must returns what a constructor made.
func must[T any](made T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return made
}

func newClient(ctx context.Context) *client {
	c := &client{
		random: rand.New(rand.NewSource(*seed)),
		out:    bufio.NewWriter(os.Stdout),
	}
	c.provider = sdk.NewMeterProvider(
		sdk.WithResource(must(resource.Merge(resource.Default(), resource.NewSchemaless(
			attribute.String("service.name", "sdk-go"),
			attribute.String("service.instance.id", *instance))))),
		sdk.WithReader(sdk.NewPeriodicReader(must(newExporter(ctx)), sdk.WithInterval(never))),
		sdk.WithView(sdk.NewView(
			sdk.Instrument{Name: "sdk.size"},
			sdk.Stream{Aggregation: sdk.AggregationBase2ExponentialHistogram{MaxSize: 160, MaxScale: 20}})))

	meter := c.provider.Meter("weir.e2e.sdks", metric.WithInstrumentationVersion("1.0"))
	requests := must(meter.Int64Counter("sdk.requests", metric.WithUnit("{request}")))
	cost := must(meter.Float64Counter("sdk.cost", metric.WithUnit("USD")))
	inFlight := must(meter.Int64UpDownCounter("sdk.in_flight"))
	duration := must(meter.Float64Histogram("sdk.duration", metric.WithUnit("ms")))
	size := must(meter.Float64Histogram("sdk.size", metric.WithUnit("By")))
	temperature := must(meter.Float64Gauge("sdk.temperature", metric.WithUnit("Cel")))
	// What the callbacks report: index of the attributes -> value.
	steps, open, depth := map[int]int64{}, map[int]int64{}, map[int]int64{}
	observe := func(values map[int]int64) metric.Int64Callback {
		return func(_ context.Context, observer metric.Int64Observer) error {
			for index, value := range values {
				observer.Observe(value, metric.WithAttributes(attributes[index]...))
			}
			return nil
		}
	}
	must(meter.Int64ObservableCounter("sdk.steps", metric.WithInt64Callback(observe(steps))))
	must(meter.Int64ObservableUpDownCounter("sdk.open", metric.WithInt64Callback(observe(open))))
	must(meter.Int64ObservableGauge("sdk.depth", metric.WithInt64Callback(observe(depth))))

	with := func(index int) metric.MeasurementOption {
		return metric.WithAttributes(attributes[index]...)
	}
	c.instruments = []instrument{
		{"sdk.requests", c.integer(0, 1<<40),
			func(i int, value any) { requests.Add(ctx, value.(int64), with(i)) }},
		{"sdk.cost", func() any { return c.random.Float64() },
			func(i int, value any) { cost.Add(ctx, value.(float64), with(i)) }},
		{"sdk.in_flight", c.integer(-5, 5),
			func(i int, value any) { inFlight.Add(ctx, value.(int64), with(i)) }},
		{"sdk.duration", c.magnitude(4.3),
			func(i int, value any) { duration.Record(ctx, value.(float64), with(i)) }},
		{"sdk.size", c.magnitude(6),
			func(i int, value any) { size.Record(ctx, value.(float64), with(i)) }},
		{"sdk.temperature", func() any { return -50 + 150*c.random.Float64() },
			func(i int, value any) { temperature.Record(ctx, value.(float64), with(i)) }},
		{"sdk.steps", c.integer(0, 999_999), func(i int, value any) { steps[i] += value.(int64) }},
		{"sdk.open", c.integer(-5, 5), func(i int, value any) { open[i] += value.(int64) }},
		{"sdk.depth", c.integer(-50, 50), func(i int, value any) { depth[i] = value.(int64) }},
	}
	return c
}

// integer draws from smallest to largest, both included.
func (c *client) integer(smallest, largest int64) func() any {
	return func() any { return smallest + c.random.Int63n(largest-smallest+1) }
}

// magnitude draws zero now and then, else from a thousandth to ten to the largest.
func (c *client) magnitude(largest float64) func() any {
	return func() any {
		if c.random.Float64() < 0.05 {
			return 0.0
		}
		return math.Pow(10, -3+c.random.Float64()*(largest+3))
	}
}

func (c *client) round(ctx context.Context) {
	for left := 60 + c.random.Intn(60); left > 0; left-- {
		one := c.instruments[c.random.Intn(len(c.instruments))]
		index := c.random.Intn(len(attributes))
		value := one.draw()
		one.record(index, value)
		labels := map[string]any{}
		for _, pair := range attributes[index] {
			labels[string(pair.Key)] = pair.Value.AsInterface()
		}
		line := must(json.Marshal(map[string]any{
			"instrument": one.name, "attributes": labels, "value": value}))
		fmt.Fprintf(c.out, "%s\n", line)
	}
	answer := "ok"
	if err := c.provider.ForceFlush(ctx); err != nil {
		log.Print(err)
		answer = "failed"
	}
	fmt.Fprintln(c.out, answer)
	c.out.Flush()
}

func main() {
	flag.Parse()
	ctx := context.Background()
	c := newClient(ctx)
	for range *rounds {
		c.round(ctx)
	}
	if *rounds == 0 {
		for in := bufio.NewScanner(os.Stdin); in.Scan() && in.Text() != "quit"; {
			c.round(ctx)
		}
	}
	if err := c.provider.Shutdown(ctx); err != nil {
		log.Print(err)
	}
}
