// A remote write of anybody, read as either version: every sample is taken or rejected,
// what is admitted is a point that parses, and what was said beforehand of its size is
// not far below what it takes.
#include <cstdint>
#include <string_view>

#include "common/base/check.h"
#include "common/rpc/parsed_size.h"
#include "services/collector/remote_write_reader.h"

namespace {

using namespace weir;
using collector::RemoteWriteReader;

template <typename Request>
void ReadAs(const uint8_t* data, size_t size) {
  constexpr int64_t kMaxExpandedBytes = 8 << 20;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const int64_t estimate =
      rpc::ParsedSize(*Request::descriptor(), bytes, /*enough=*/int64_t{1} << 30);
  Request request;
  if (!request.ParseFromArray(data, static_cast<int>(size))) return;
  WEIR_CHECK(static_cast<int64_t>(request.SpaceUsedLong()) <= 2 * estimate + 4096);
  if (RemoteWriteReader::ExpandedBytes(request) > kMaxExpandedBytes) return;

  const collector::Limits limits;
  collector::SeriesTable series(16, 100);
  collector::HistogramFamilies families;
  collector::ReplicaElection election({});
  RemoteWriteReader reader(limits, series, families, election,
                           absl::FromUnixSeconds(1'750'000'000));
  reader.Read(request);
  const RemoteWriteReader::Counts& counts = reader.counts();
  WEIR_CHECK(counts.samples_taken <= counts.samples);
  WEIR_CHECK(counts.histograms_taken <= counts.histograms);
  for (const collector::AdmittedBatch& batch : reader.TakeBatches()) {
    for (const collector::AdmittedSample& sample : batch.samples) {
      WEIR_CHECK(sample.slot < 16 && sample.series < series.size());
      if (sample.type != frame::ValueType::kPoint) continue;
      WEIR_CHECK(ParsePoint(batch.PointOf(sample)).ok());
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ReadAs<RemoteWriteReader::RequestV1>(data, size);
  ReadAs<RemoteWriteReader::RequestV2>(data, size);
  return 0;
}
