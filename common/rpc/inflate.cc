#include "common/rpc/inflate.h"

#include <algorithm>
#include <limits>

#include "common/base/check.h"
#include "common/base/strings.h"
#include "common/rpc/error.h"

namespace weir::rpc {
namespace {

// A gzip member's head and tail, and the most deflate makes of one byte.
constexpr size_t kLeastGzipBytes = 18;
constexpr int64_t kMostPerByte = 1032;

absl::Status DamagedGzip() {
  return Error(absl::StatusCode::kInvalidArgument, v1::UNDECODABLE, "damaged gzip");
}

}  // namespace

Inflater::Inflater() {
  constexpr int kGzipOnly = 16;
  WEIR_CHECK(inflateInit2(&zlib_, kGzipOnly + MAX_WBITS) == Z_OK);
}

Inflater::~Inflater() { inflateEnd(&zlib_); }

size_t Inflater::Inflate(std::string_view* input, char* out, size_t capacity) {
  constexpr size_t kMostAtOnce = std::numeric_limits<uInt>::max();
  size_t written = 0;
  while (written < capacity && !ended_ && !damaged_) {
    const size_t given = std::min(input->size(), kMostAtOnce);
    const size_t room = std::min(capacity - written, kMostAtOnce);
    zlib_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(input->data()));
    zlib_.avail_in = static_cast<uInt>(given);
    zlib_.next_out = reinterpret_cast<Bytef*>(out + written);
    zlib_.avail_out = static_cast<uInt>(room);
    const int result = inflate(&zlib_, Z_NO_FLUSH);
    input->remove_prefix(given - zlib_.avail_in);
    written += room - zlib_.avail_out;
    if (result == Z_STREAM_END) {
      ended_ = true;
    } else if (result == Z_BUF_ERROR) {
      return written;  // it needs more input, and there is none
    } else if (result != Z_OK) {
      damaged_ = true;
    }
  }
  return written;
}

bool LooksLikeGzip(std::string_view bytes) { return bytes.starts_with("\x1f\x8b"); }

int64_t InflatedSize(std::string_view gzip) {
  if (gzip.size() < kLeastGzipBytes) return 0;
  uint32_t claimed = 0;  // little-endian
  for (size_t i = 1; i <= 4; ++i) {
    claimed = claimed << 8 | static_cast<unsigned char>(gzip[gzip.size() - i]);
  }
  return std::min<int64_t>(claimed, kMostPerByte * static_cast<int64_t>(gzip.size()));
}

absl::Status InflateGzip(std::string_view gzip, int64_t max_bytes, std::string* out) {
  const int64_t size = InflatedSize(gzip);
  out->clear();
  if (size > max_bytes) return MessageTooLarge(max_bytes);
  // One byte more than there should be, so that a longer text shows.
  out->resize(static_cast<size_t>(size) + 1);
  Inflater inflater;
  const size_t written = inflater.Inflate(&gzip, out->data(), out->size());
  out->resize(written);
  const bool whole = inflater.ended() && gzip.empty();
  return whole && static_cast<int64_t>(written) == size ? absl::OkStatus() : DamagedGzip();
}

absl::Status MessageTooLarge(int64_t max_bytes) {
  return Error(absl::StatusCode::kResourceExhausted, v1::MESSAGE_TOO_LARGE,
               StrCat("the message holds more than ", max_bytes, " bytes"),
               {{"limit_bytes", StrCat(max_bytes)}});
}

}  // namespace weir::rpc
