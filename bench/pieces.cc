// What the pieces of the pipeline cost by themselves: folding, the codec, the
// log and its recovery. CPU time of this process, kernel included, unless the
// unit says otherwise; each figure is the median of several rounds.
//
//   weir-bench-pieces --directory=DIR [--rounds=5] [--syncs=1000] [--recovery_mib=1024]
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bench/measure.h"
#include "common/base/check.h"
#include "common/base/file_system.h"
#include "common/base/random.h"
#include "common/frame/block.h"
#include "common/wal/wal.h"
#include "services/aggregator/fold.h"

namespace weir::bench {
namespace {

constexpr int64_t kBaseNanos = int64_t{1'700'000'000} * 1'000'000'000;
constexpr int kBatch = 1000;

// Blocks of one batch of 1,000 samples each, in the shape of `weir load`: random
// series, microseconds apart, latencies.
std::vector<frame::Block> MakeBlocks(int count, uint32_t series) {
  Random random(1);
  std::vector<frame::Block> blocks(count);
  for (int b = 0; b < count; ++b) {
    for (int i = 0; i < kBatch; ++i) {
      blocks[b].refs.push_back(static_cast<uint32_t>(random.Below(series)));
      blocks[b].times.push_back(kBaseNanos + (int64_t{b} * kBatch + i) * 1000);
      const double value = 0.05 + random.Fraction() * random.Fraction();
      blocks[b].bits.push_back(LoadFixed<uint64_t>(reinterpret_cast<const char*>(&value)));
    }
  }
  return blocks;
}

// Runs `body` `rounds` times and prints the median of items per CPU second.
template <typename Body>
void MeasureRate(const std::string& name, int rounds, double items, std::string_view unit,
                 Body body) {
  std::vector<double> rates;
  for (int round = 0; round < rounds; ++round) {
    const absl::Duration start = CpuTime();
    body();
    rates.push_back(items / absl::ToDoubleSeconds(CpuTime() - start));
  }
  Print(name, Median(rates), unit);
}

void MeasureFold(int rounds) {
  for (const uint32_t series_count : {1000u, 10'000u, 100'000u}) {
    for (const Kind kind : {Kind::kCounter, Kind::kDistribution}) {
      aggregator::SeriesIndex series({});
      for (uint32_t i = 0; i < series_count; ++i) {
        std::string bytes;
        AppendSeries({.tenant = "bench",
                      .name = "load.request.duration",
                      .kind = kind,
                      .labels = {{"replica", absl::StrCat(i)}}},
                     &bytes);
        WEIR_CHECK(series.Intern(0, bytes).ok());
      }
      const int count = 1000;
      const std::vector<frame::Block> blocks = MakeBlocks(count, series_count);
      aggregator::Delta delta(10);
      const auto fold = [&] {
        for (const frame::Block& block : blocks) {
          delta.Fold(series, absl::MakeConstSpan(block.refs), block);
        }
      };
      fold();  // the cells are made here; what follows folds into them
      MeasureRate(absl::StrCat("fold_", kind == Kind::kCounter ? "counter" : "distribution", "_",
                               series_count / 1000, "k_series"),
                  rounds, count * kBatch / 1e6, "M/cpu-s", fold);
    }
  }
}

void MeasureCodec(int rounds) {
  const int count = 2000;
  const std::vector<frame::Block> blocks = MakeBlocks(count, 10'000);
  std::string bytes;
  MeasureRate("block_encode", rounds, count * kBatch / 1e6, "M/cpu-s", [&] {
    bytes.clear();
    for (const frame::Block& block : blocks) frame::AppendBlock(block, &bytes);
  });
  Print("block_bytes_per_sample", static_cast<double>(bytes.size()) / (count * kBatch), "bytes");
  frame::Block block;
  MeasureRate("block_decode", rounds, count * kBatch / 1e6, "M/cpu-s", [&] {
    ByteReader reader(bytes);
    while (!reader.empty()) WEIR_CHECK_OK(frame::ReadBlock(&reader, &block));
  });
}

std::unique_ptr<wal::Wal> OpenWal(const std::string& directory) {
  auto wal =
      wal::Wal::Open({.directory = directory, .new_id = {.high = 1, .low = 1}}, PosixFileSystem());
  WEIR_CHECK_OK(wal.status());
  return *std::move(wal);
}

void AppendRecords(wal::Wal& wal, int count, const std::string& payload, bool sync) {
  for (int i = 0; i < count; ++i) {
    WEIR_CHECK_OK(wal.Prepare().status());
    WEIR_CHECK_OK(wal.Append({payload}));
    if (sync) WEIR_CHECK_OK(wal.Sync());
  }
  if (!sync) WEIR_CHECK_OK(wal.Sync());
}

void MeasureWal(int rounds, const std::string& directory, int count) {
  const std::string path = absl::StrCat(directory, "/wal");
  for (const size_t bytes : {size_t{16} << 10, size_t{256} << 10}) {
    const std::string payload(bytes, 'p');
    const double mib = static_cast<double>(bytes) * count / (1 << 20);
    std::vector<double> synced, unsynced, micros;
    for (int round = 0; round < rounds; ++round) {
      for (const bool sync : {true, false}) {
        std::filesystem::remove_all(path);
        const auto wal = OpenWal(path);
        const absl::Duration start = WallTime();
        AppendRecords(*wal, count, payload, sync);
        const double seconds = absl::ToDoubleSeconds(WallTime() - start);
        (sync ? synced : unsynced).push_back(mib / seconds);
        if (sync) micros.push_back(seconds / count * 1e6);
      }
    }
    const std::string name = absl::StrCat("wal_append_", bytes >> 10, "kib");
    Print(absl::StrCat(name, "_sync_each"), Median(synced), "MiB/s");
    Print(absl::StrCat(name, "_sync_each_latency"), Median(micros), "us");
    Print(absl::StrCat(name, "_sync_at_end"), Median(unsynced), "MiB/s");
  }
  std::filesystem::remove_all(path);
}

// Opening a log of `mib` MiB: a scan of every record, then a sync of every file.
// Wall time, from the page cache, as after a killed process.
void MeasureRecovery(int rounds, const std::string& directory, int64_t mib) {
  const std::string path = absl::StrCat(directory, "/recovery");
  std::filesystem::remove_all(path);
  const std::string payload(64 << 10, 'r');
  AppendRecords(*OpenWal(path), static_cast<int>(mib * 16), payload, false);
  std::vector<double> rates;
  for (int round = 0; round < rounds; ++round) {
    const absl::Duration start = WallTime();
    const auto wal = OpenWal(path);
    rates.push_back(static_cast<double>(mib) / absl::ToDoubleSeconds(WallTime() - start));
    WEIR_CHECK(wal->recovery().records == static_cast<uint64_t>(mib * 16));
  }
  Print("recovery_scan", Median(rates), "MiB/s");
  std::filesystem::remove_all(path);
}

}  // namespace
}  // namespace weir::bench

int main(int argc, char** argv) {
  using namespace weir::bench;
  const std::string directory = Flag(argc, argv, "directory", "");
  const int rounds = static_cast<int>(IntFlag(argc, argv, "rounds", 5));
  if (directory.empty() || rounds < 1) {
    std::fprintf(stderr,
                 "usage: weir-bench-pieces --directory=DIR [--rounds=5] [--syncs=1000] "
                 "[--recovery_mib=1024]\n");
    return 2;
  }
  MeasureFold(rounds);
  MeasureCodec(rounds);
  MeasureWal(rounds, directory, static_cast<int>(IntFlag(argc, argv, "syncs", 1000)));
  MeasureRecovery(rounds, directory, IntFlag(argc, argv, "recovery_mib", 1024));
  return 0;
}
