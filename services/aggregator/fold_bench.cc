// Budget: at least 60 million samples a second on one core for 10,000 series
// without sketches, when samples are current.
#include <benchmark/benchmark.h>

#include <bit>
#include <vector>

#include "common/base/check.h"
#include "common/base/random.h"
#include "services/aggregator/fold.h"

namespace weir::aggregator {
namespace {

constexpr int64_t kNano = 1'000'000'000;
constexpr size_t kBlockSamples = 1024;

struct Input {
  SeriesIndex series{
      SeriesLimits{.max_series_per_tenant = 10'000'000, .max_series_per_metric = 10'000'000}};
  std::vector<std::vector<SeriesNumber>> numbers;
  std::vector<frame::Block> blocks;
};

// Four million samples in random series order, one in `late_one_in` of them
// spread over an hour, the others within a bin.
void MakeInput(Kind kind, int64_t series_count, uint64_t late_one_in, Input* input) {
  for (int64_t i = 0; i < series_count; ++i) {
    std::string bytes;
    AppendSeries({.name = "m", .kind = kind, .labels = {{"i", std::to_string(i)}}}, &bytes);
    WEIR_CHECK_OK(input->series.Intern(static_cast<int>(i % 16), bytes).status());
  }
  Random random(1);
  const int64_t start = 1'700'000'000 * kNano;
  for (int block = 0; block < 4096; ++block) {
    auto& numbers = input->numbers.emplace_back();
    frame::Block& columns = input->blocks.emplace_back();
    for (size_t i = 0; i < kBlockSamples; ++i) {
      numbers.push_back(static_cast<SeriesNumber>(random.Below(series_count)));
      columns.refs.push_back(numbers.back());
      int64_t time = start + block * 1'000'000 + static_cast<int64_t>(i) * 900;
      if (late_one_in > 0 && random.OneIn(late_one_in)) {
        time -= static_cast<int64_t>(random.Below(3600 * kNano));
      }
      columns.times.push_back(time);
      columns.bits.push_back(std::bit_cast<uint64_t>(random.Fraction() * 1000));
    }
  }
}

void Fold(benchmark::State& state, Kind kind, uint64_t late_one_in) {
  Input input;
  MakeInput(kind, state.range(0), late_one_in, &input);
  Delta delta(10);
  size_t next = 0;
  int64_t samples = 0;
  for (auto _ : state) {
    delta.Fold(input.series, input.numbers[next], input.blocks[next]);
    samples += kBlockSamples;
    if (++next == input.blocks.size()) {
      next = 0;
      delta.Clear();
    }
  }
  state.SetItemsProcessed(samples);
}

BENCHMARK_CAPTURE(Fold, current, Kind::kCounter, 0)->Arg(1'000)->Arg(10'000)->Arg(100'000);
BENCHMARK_CAPTURE(Fold, one_in_ten_late, Kind::kCounter, 10)->Arg(10'000);
BENCHMARK_CAPTURE(Fold, backfill_of_an_hour, Kind::kCounter, 1)->Arg(1'000);
BENCHMARK_CAPTURE(Fold, distributions, Kind::kDistribution, 0)->Arg(10'000);

}  // namespace
}  // namespace weir::aggregator

BENCHMARK_MAIN();
