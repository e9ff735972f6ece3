// gzip of anybody: it is inflated within the limit or refused; the pieces and the
// whole agree, and what zlib makes of the result comes back.
#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/check.h"
#include "common/rpc/inflate.h"
#include "common/testing/gzip.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace weir;
  constexpr int64_t kMaxBytes = 64 << 10;
  const std::string_view gzip(reinterpret_cast<const char*>(data), size);
  std::string out;
  const bool ok = rpc::InflateGzip(gzip, kMaxBytes, &out).ok();
  WEIR_CHECK(out.capacity() <= kMaxBytes + 1);

  rpc::Inflater inflater;
  std::string_view rest = gzip;
  std::string pieces;
  while (pieces.size() <= kMaxBytes) {
    char piece[1000];
    const size_t length = inflater.Inflate(&rest, piece, sizeof piece);
    pieces.append(piece, length);
    if (length < sizeof piece) break;
  }
  if (!ok) return 0;
  WEIR_CHECK(inflater.ended() && !inflater.damaged() && rest.empty() && pieces == out);
  std::string again;
  WEIR_CHECK(rpc::InflateGzip(test::Gzip(out), kMaxBytes, &again).ok() && again == out);
  return 0;
}
