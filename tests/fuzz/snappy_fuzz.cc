// Snappy of anybody: it is decompressed within the limit or refused, and what it gives
// comes back after it was compressed again.
#include <snappy-c.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/check.h"
#include "common/rpc/snappy.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace weir;
  constexpr int64_t kMaxBytes = 64 << 10;
  const std::string_view block(reinterpret_cast<const char*>(data), size);
  std::string out;
  const bool ok = rpc::DecompressSnappy(block, kMaxBytes, &out).ok();
  WEIR_CHECK(static_cast<int64_t>(out.capacity()) <= kMaxBytes + 1);
  const auto claimed = rpc::DecompressedSize(block, kMaxBytes);
  if (!ok) return 0;
  WEIR_CHECK(claimed.ok() && *claimed == static_cast<int64_t>(out.size()));
  std::string again(snappy_max_compressed_length(out.size()), '\0');
  size_t length = again.size();
  WEIR_CHECK(snappy_compress(out.data(), out.size(), again.data(), &length) == SNAPPY_OK);
  std::string same;
  WEIR_CHECK(
      rpc::DecompressSnappy(std::string_view(again).substr(0, length), kMaxBytes, &same).ok());
  WEIR_CHECK(same == out);
  return 0;
}
