// What the distribution of a sample costs, on one core.
//
// Budget: 100 million values a second into one hot sketch (10 ns each; folding a
// sample without one takes 2 to 17 ns), 3 million merges and 1 million
// encodings a second of sketches of 500 values.
#include <benchmark/benchmark.h>

#include <cmath>
#include <string>
#include <vector>

#include "common/base/random.h"
#include "common/sketch/sketch.h"

namespace weir {
namespace {

// Latencies around 300 ms, spread as they are in practice.
std::vector<double> Latencies(size_t count) {
  Random random(1);
  std::vector<double> values;
  for (size_t i = 0; i < count; ++i) {
    const double bell = random.Fraction() + random.Fraction() + random.Fraction() - 1.5;
    values.push_back(0.3 * std::exp2(2 * bell));
  }
  return values;
}

Sketch Of(const std::vector<double>& values) {
  Sketch sketch;
  for (const double value : values) sketch.Add(value);
  return sketch;
}

void BM_Add(benchmark::State& state) {
  const std::vector<double> values = Latencies(4096);
  Sketch sketch;
  for (auto _ : state) {
    for (const double value : values) sketch.Add(value);
  }
  benchmark::DoNotOptimize(sketch.count());
  state.SetItemsProcessed(state.iterations() * values.size());
}
BENCHMARK(BM_Add);

// A bin's whole life: empty, `values` of them, gone.
void BM_FillFromEmpty(benchmark::State& state) {
  const std::vector<double> values = Latencies(state.range(0));
  for (auto _ : state) {
    const Sketch sketch = Of(values);
    benchmark::DoNotOptimize(sketch.count());
  }
  state.SetItemsProcessed(state.iterations() * values.size());
  state.counters["bytes"] = static_cast<double>(Of(values).memory_bytes());
}
BENCHMARK(BM_FillFromEmpty)->Arg(1)->Arg(10)->Arg(500);

void BM_Merge(benchmark::State& state) {
  const Sketch part = Of(Latencies(500));
  Sketch sketch = part;
  int64_t merged_count = 0;
  for (auto _ : state) {
    sketch.Merge(part);
    if (++merged_count % 100 == 0) sketch = part;  // keep to the counts of a bin
  }
  benchmark::DoNotOptimize(sketch.count());
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_Merge);

void BM_AppendTo(benchmark::State& state) {
  const Sketch sketch = Of(Latencies(500));
  std::string bytes;
  for (auto _ : state) {
    bytes.clear();
    sketch.AppendTo(&bytes);
    benchmark::DoNotOptimize(bytes.data());
  }
  state.SetItemsProcessed(state.iterations());
  state.counters["bytes"] = static_cast<double>(bytes.size());
}
BENCHMARK(BM_AppendTo);

void BM_Parse(benchmark::State& state) {
  std::string bytes;
  Of(Latencies(500)).AppendTo(&bytes);
  for (auto _ : state) benchmark::DoNotOptimize(Sketch::Parse(bytes)->count());
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_Parse);

void BM_Quantile(benchmark::State& state) {
  const Sketch sketch = Of(Latencies(500));
  for (auto _ : state) benchmark::DoNotOptimize(sketch.Quantile(0.99));
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_Quantile);

}  // namespace
}  // namespace weir

BENCHMARK_MAIN();
