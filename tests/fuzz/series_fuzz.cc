// A series definition, and labels as JSON: what parses is written as it was read.
#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/check.h"
#include "common/model/series.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace weir;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (const auto series = ParseSeries(bytes); series.ok()) {
    std::string again;
    AppendSeries(*series, &again);
    WEIR_CHECK(again == bytes);
  }
  if (const auto labels = LabelsFromJson(bytes); labels.ok()) {
    const auto same = LabelsFromJson(LabelsToJson(*labels));
    WEIR_CHECK(same.ok() && *same == *labels);
  }
  return 0;
}
