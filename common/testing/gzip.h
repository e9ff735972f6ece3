// One gzip member, as HTTP and gRPC clients send it. Whoever includes this links zlib.
#pragma once

#include <zlib.h>

#include <string>

#include "common/base/check.h"

namespace weir::test {

// `level` is zlib's; the default is quick.
inline std::string Gzip(const std::string& bytes, int level = Z_BEST_SPEED) {
  constexpr int kGzipOnly = 16;
  z_stream zlib = {};
  WEIR_CHECK(deflateInit2(&zlib, level, Z_DEFLATED, kGzipOnly + MAX_WBITS, 8, Z_DEFAULT_STRATEGY) ==
             Z_OK);
  std::string out(deflateBound(&zlib, bytes.size()), '\0');
  zlib.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  zlib.avail_in = static_cast<uInt>(bytes.size());
  zlib.next_out = reinterpret_cast<Bytef*>(out.data());
  zlib.avail_out = static_cast<uInt>(out.size());
  WEIR_CHECK(deflate(&zlib, Z_FINISH) == Z_STREAM_END);
  out.resize(zlib.total_out);
  deflateEnd(&zlib);
  return out;
}

}  // namespace weir::test
