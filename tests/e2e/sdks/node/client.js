// The OpenTelemetry SDK for Node, unmodified, driven as ../README.md says.
'use strict';

const readline = require('node:readline');
const { parseArgs } = require('node:util');
const { ValueType } = require('@opentelemetry/api');
const grpc = require('@opentelemetry/exporter-metrics-otlp-grpc');
const http = require('@opentelemetry/exporter-metrics-otlp-proto');
const { resourceFromAttributes } = require('@opentelemetry/resources');
const sdk = require('@opentelemetry/sdk-metrics');

const ATTRIBUTES = [
  {},
  { model: 'gpt-5', stream: true, shard: 0 },
  { model: 'claude-opus-4', stream: false, shard: 1 },
  { model: 'llama-3-70b' },
  { shard: -7 },
];
const NEVER_MILLIS = 24 * 3600 * 1000;

// A small generator with a seed, which Math.random has not: mulberry32.
function generator(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

// An exporter that keeps the outcome of its last export in `ok`, and chooses one
// temporality for all: the SDK's own "delta" leaves up-down counters cumulative.
class NotingExporter {
  ok = false;

  constructor(exporter, temporality) {
    this.exporter = exporter;
    this.temporality = temporality;
  }
  export(metrics, done) {
    this.exporter.export(metrics, (result) => {
      this.ok = result.code === 0;
      if (!this.ok) console.error(result.error);
      done(result);
    });
  }
  selectAggregationTemporality() {
    return this.temporality;
  }
  forceFlush() {
    return this.exporter.forceFlush();
  }
  shutdown() {
    return this.exporter.shutdown();
  }
}

function makeExporter(options) {
  const compression = options.compression;
  const exporter =
    options.protocol === 'grpc'
      ? new grpc.OTLPMetricExporter({ url: options.endpoint, compression })
      : new http.OTLPMetricExporter({ url: `${options.endpoint}/v1/metrics`, compression });
  const temporality =
    sdk.AggregationTemporality[options.temporality === 'delta' ? 'DELTA' : 'CUMULATIVE'];
  return new NotingExporter(exporter, temporality);
}

class Client {
  constructor(options) {
    this.random = generator(Number(options.seed));
    this.exporter = makeExporter(options);
    this.provider = new sdk.MeterProvider({
      resource: resourceFromAttributes({
        'service.name': 'sdk-node',
        'service.instance.id': options.instance,
      }),
      readers: [
        new sdk.PeriodicExportingMetricReader({
          exporter: this.exporter,
          exportIntervalMillis: NEVER_MILLIS,
          exportTimeoutMillis: 30_000,
        }),
      ],
      views: [
        {
          instrumentName: 'sdk.size',
          aggregation: { type: sdk.AggregationType.EXPONENTIAL_HISTOGRAM },
        },
      ],
    });
    const meter = this.provider.getMeter('weir.e2e.sdks', '1.0');
    const int = { valueType: ValueType.INT };
    const requests = meter.createCounter('sdk.requests', { unit: '{request}', ...int });
    const cost = meter.createCounter('sdk.cost', { unit: 'USD' });
    const inFlight = meter.createUpDownCounter('sdk.in_flight', int);
    const duration = meter.createHistogram('sdk.duration', { unit: 'ms' });
    const size = meter.createHistogram('sdk.size', { unit: 'By' });
    const temperature = meter.createGauge('sdk.temperature', { unit: 'Cel' });
    // What the callbacks report: index of the attributes -> value.
    const steps = new Map();
    const open = new Map();
    const depth = new Map();
    const observe = (values) => (result) =>
      values.forEach((value, index) => result.observe(value, ATTRIBUTES[index]));
    meter.createObservableCounter('sdk.steps', int).addCallback(observe(steps));
    meter.createObservableUpDownCounter('sdk.open', int).addCallback(observe(open));
    meter.createObservableGauge('sdk.depth', int).addCallback(observe(depth));

    const add = (instrument) => (index, value) => instrument.add(value, ATTRIBUTES[index]);
    const record = (instrument) => (index, value) => instrument.record(value, ATTRIBUTES[index]);
    const increase = (totals) => (index, value) =>
      totals.set(index, (totals.get(index) ?? 0) + value);
    // Name, how to draw a value, how to record it.
    this.instruments = [
      ['sdk.requests', () => Math.floor(this.random() * 2 ** 40), add(requests)],
      ['sdk.cost', () => this.random(), add(cost)],
      ['sdk.in_flight', () => this.integer(-5, 5), add(inFlight)],
      ['sdk.duration', () => this.magnitude(4.3), record(duration)],
      ['sdk.size', () => this.magnitude(6), record(size)],
      ['sdk.temperature', () => -50 + 150 * this.random(), record(temperature)],
      ['sdk.steps', () => this.integer(0, 999_999), increase(steps)],
      ['sdk.open', () => this.integer(-5, 5), increase(open)],
      ['sdk.depth', () => this.integer(-50, 50), (index, value) => depth.set(index, value)],
    ];
  }

  // From `smallest` to `largest`, both included; never -0.
  integer(smallest, largest) {
    return smallest + Math.floor(this.random() * (largest - smallest + 1));
  }

  // Zero now and then, else from a thousandth to ten to the `largest`.
  magnitude(largest) {
    return this.random() < 0.05 ? 0 : 10 ** (-3 + this.random() * (largest + 3));
  }

  async round() {
    const lines = [];
    for (let left = this.integer(60, 119); left > 0; left--) {
      const [instrument, draw, record] =
        this.instruments[this.integer(0, this.instruments.length - 1)];
      const index = this.integer(0, ATTRIBUTES.length - 1);
      const value = draw();
      record(index, value);
      lines.push(JSON.stringify({ instrument, attributes: ATTRIBUTES[index], value }));
    }
    this.exporter.ok = false;
    await this.provider.forceFlush();
    lines.push(this.exporter.ok ? 'ok' : 'failed');
    process.stdout.write(lines.join('\n') + '\n');
  }
}

async function main() {
  const { values: options } = parseArgs({
    options: {
      endpoint: { type: 'string' },
      protocol: { type: 'string', default: 'grpc' },
      temporality: { type: 'string', default: 'delta' },
      compression: { type: 'string', default: 'none' },
      instance: { type: 'string', default: '1' },
      seed: { type: 'string', default: '1' },
      rounds: { type: 'string', default: '0' },
    },
  });
  const client = new Client(options);
  const rounds = Number(options.rounds);
  for (let round = 0; round < rounds; round++) await client.round();
  if (rounds === 0) {
    for await (const line of readline.createInterface({ input: process.stdin })) {
      if (line.trim() === 'quit') break;
      await client.round();
    }
  }
  await client.provider.shutdown();
  process.stdin.destroy();
}

main();
