// What a sample costs between bytes and columns, on one core.
//
// Budget: 400 million samples a second decoded and 200 million encoded, in
// blocks of 1,000: 2.5 and 5 ns, a fraction of what folding a sample costs.
#include <benchmark/benchmark.h>

#include <bit>
#include <string>

#include "common/base/random.h"
#include "common/frame/block.h"

namespace weir::frame {
namespace {

// What a block holds, from the cheapest to the dearest to encode.
enum Shape : int64_t {
  kMillisecondsAndIntegers,     // small counts, times of whole milliseconds
  kMillisecondsAndFloats,       // latencies
  kNanosecondsAndFloats,        // a batch within four seconds
  kNanosecondsPastFourSeconds,  // times of eight bytes
};

Block MakeBlock(Shape shape, size_t count) {
  Random random(1);
  Block block;
  block.type = shape == kMillisecondsAndIntegers ? ValueType::kInteger : ValueType::kFloat;
  for (size_t i = 0; i < count; ++i) {
    block.refs.push_back(static_cast<uint32_t>(random.Below(10'000)));
    int64_t offset = static_cast<int64_t>(random.Below(1'000'000'000));
    if (shape <= kMillisecondsAndFloats) offset = offset / 1'000'000 * 1'000'000;
    if (shape == kNanosecondsPastFourSeconds) offset *= 20;
    block.times.push_back(1'750'000'000'000'000'000 + offset);
    const uint64_t number = random.Below(5000);
    block.bits.push_back(block.type == ValueType::kInteger
                             ? number
                             : std::bit_cast<uint64_t>(static_cast<double>(number) / 1000));
  }
  return block;
}

void BM_AppendBlock(benchmark::State& state) {
  const Block block = MakeBlock(static_cast<Shape>(state.range(0)), state.range(1));
  std::string bytes;
  for (auto _ : state) {
    bytes.clear();
    AppendBlock(block, &bytes);
    benchmark::DoNotOptimize(bytes.data());
  }
  state.SetItemsProcessed(state.iterations() * state.range(1));
  state.counters["bytes_per_sample"] =
      static_cast<double>(bytes.size()) / static_cast<double>(state.range(1));
}

void BM_ReadBlock(benchmark::State& state) {
  std::string bytes;
  AppendBlock(MakeBlock(static_cast<Shape>(state.range(0)), state.range(1)), &bytes);
  Block block;
  for (auto _ : state) {
    ByteReader reader(bytes);
    benchmark::DoNotOptimize(ReadBlock(&reader, &block).ok());
    benchmark::DoNotOptimize(block.bits.data());
  }
  state.SetItemsProcessed(state.iterations() * state.range(1));
}

void Shapes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"shape", "samples"});
  for (int64_t shape = kMillisecondsAndIntegers; shape <= kNanosecondsPastFourSeconds; ++shape) {
    benchmark->Args({shape, 1000});
  }
  benchmark->Args({kMillisecondsAndFloats, 10});
}

BENCHMARK(BM_AppendBlock)->Apply(Shapes);
BENCHMARK(BM_ReadBlock)->Apply(Shapes);

}  // namespace
}  // namespace weir::frame

BENCHMARK_MAIN();
