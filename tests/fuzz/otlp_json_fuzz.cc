// OTLP's JSON of anybody: what it was said to weigh is not far below what it takes
// once it is parsed.
#include <google/protobuf/util/json_util.h>

#include <cstdint>
#include <string_view>

#include "common/base/check.h"
#include "opentelemetry/proto/collector/metrics/v1/metrics_service.pb.h"
#include "services/collector/otlp_http.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace weir;
  const std::string_view json(reinterpret_cast<const char*>(data), size);
  const auto weight = collector::JsonWeight(json);
  if (!weight.ok()) return 0;
  opentelemetry::proto::collector::metrics::v1::ExportMetricsServiceRequest request;
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;
  const auto parsed = google::protobuf::util::JsonStringToMessage(
      google::protobuf::StringPiece(json.data(), json.size()), &request, options);
  if (!parsed.ok()) return 0;
  WEIR_CHECK(static_cast<int64_t>(request.SpaceUsedLong()) <= 2 * *weight + 4096);
  return 0;
}
