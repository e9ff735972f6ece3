// An OTLP request of anybody: what parses is read, every point is admitted or
// rejected, what is admitted is a point that parses, and what the walk before the
// parser said of its size is not far below what it takes.
#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "common/base/check.h"
#include "common/rpc/parsed_size.h"
#include "services/collector/otlp_reader.h"

namespace {

// Returns how many samples there are.
int64_t Check(const std::vector<weir::collector::AdmittedBatch>& batches,
              const weir::collector::SeriesTable& series) {
  using namespace weir;
  int64_t count = 0;
  for (const collector::AdmittedBatch& batch : batches) {
    for (const collector::AdmittedSample& sample : batch.samples) {
      ++count;
      WEIR_CHECK(sample.slot < 16 && sample.series < series.size());
      if (sample.type != frame::ValueType::kPoint) continue;
      WEIR_CHECK(ParsePoint(batch.PointOf(sample)).ok());
    }
  }
  return count;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace weir;
  using Request = collector::OtlpReader::Request;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const int64_t estimate =
      rpc::ParsedSize(*Request::descriptor(), bytes, /*enough=*/int64_t{1} << 30);
  Request request;
  if (!request.ParseFromArray(data, static_cast<int>(size))) return 0;
  WEIR_CHECK(static_cast<int64_t>(request.SpaceUsedLong()) <= 2 * estimate + 4096);

  const collector::Limits limits;
  collector::SeriesTable series(16, 100);
  collector::SeriesCache cache;
  // What is known by its bytes is taken as what is new.
  std::array<int64_t, 2> samples = {};
  for (int64_t& count : samples) {
    collector::OtlpReader reader(limits, series, cache, absl::FromUnixSeconds(1'750'000'000));
    if (!reader.Read(request).ok()) return 0;
    count = Check(reader.TakeBatches(), series);
    count += reader.rejections().count();
  }
  WEIR_CHECK(samples[0] == samples[1]);
  return 0;
}
