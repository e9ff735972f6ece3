// An OTLP request of anybody: what parses is read, every point is admitted or
// rejected, what is admitted is a point that parses, and what the walk before the
// parser said of its size is not far below what it takes.
#include <cstdint>
#include <string_view>

#include "common/base/check.h"
#include "common/rpc/parsed_size.h"
#include "services/collector/otlp_reader.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace weir;
  using Request = collector::otlp::ExportMetricsServiceRequest;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const int64_t estimate =
      rpc::ParsedSize(*Request::descriptor(), bytes, /*enough=*/int64_t{1} << 30);
  Request request;
  if (!request.ParseFromArray(data, static_cast<int>(size))) return 0;
  WEIR_CHECK(static_cast<int64_t>(request.SpaceUsedLong()) <= 2 * estimate + 4096);

  const collector::Limits limits;
  collector::SeriesTable series(16, 100);
  collector::OtlpReader reader(limits, series, absl::FromUnixSeconds(1'750'000'000));
  reader.Read(request);
  for (const collector::AdmittedBatch& batch : reader.TakeBatches()) {
    for (const collector::AdmittedSample& sample : batch.samples) {
      WEIR_CHECK(sample.slot < 16 && sample.series < series.size());
      if (sample.type != frame::ValueType::kPoint) continue;
      WEIR_CHECK(ParsePoint(batch.PointOf(sample)).ok());
    }
  }
  return 0;
}
