// A row of the store about a histogram that is being put together: what parses is
// written as bytes that parse again, and goes on.
#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/check.h"
#include "services/aggregator/assembly.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace weir;
  using aggregator::HistogramAssembly;
  auto assembly =
      HistogramAssembly::Parse(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!assembly.ok()) return 0;
  std::string bytes;
  assembly->AppendTo(&bytes);
  const auto same = HistogramAssembly::Parse(bytes);
  WEIR_CHECK(same.ok());
  std::string again;
  same->AppendTo(&again);
  WEIR_CHECK(again == bytes);

  const aggregator::AssemblyOptions options;
  int64_t last = INT64_MIN;
  const int64_t newest = assembly->newest_unix_nano();
  for (int i = 0; i < 4 && newest < INT64_MAX - 4; ++i) {
    for (const auto role : {HistogramPart::Role::kBucket, HistogramPart::Role::kCount}) {
      const Point part = {
          .cumulative = true, .part = HistogramPart{.role = role}, .value = int64_t{i}};
      assembly->Add(options, newest + i, part, [&](int64_t time, const Point& histogram) {
        WEIR_CHECK(time > last);
        last = time;
        WEIR_CHECK(ValidateHistogram(std::get<Histogram>(histogram.value)).ok());
      });
    }
  }
  return 0;
}
