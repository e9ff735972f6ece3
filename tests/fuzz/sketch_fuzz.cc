// A stored sketch: what parses merges, answers, and is written as bytes that
// parse again.
#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/check.h"
#include "common/sketch/sketch.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace weir;
  auto sketch = Sketch::Parse(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!sketch.ok() || sketch->count() == 0) return 0;
  WEIR_CHECK(sketch->Quantile(0) <= sketch->Quantile(1));
  std::string bytes;
  sketch->AppendTo(&bytes);
  const auto same = Sketch::Parse(bytes);
  WEIR_CHECK(same.ok() && *same == *sketch);
  // Totals of 2^63 and more are the caller's to prevent.
  if (sketch->count() < (int64_t{1} << 61)) {
    Sketch merged;
    merged.Add(1.5);
    merged.Merge(*sketch);
    WEIR_CHECK(merged.count() == sketch->count() + 1);
  }
  return 0;
}
