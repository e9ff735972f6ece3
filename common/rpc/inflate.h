// gzip, inflated within bounds: a bomb costs what the caller allows, whatever it
// claims to be.
//
// One gzip member and nothing after it is what HTTP and gRPC clients send, and all
// that is taken.
#pragma once

#include <zlib.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace weir::rpc {

// Inflates gzip bytes piece by piece.
//
// Thread safety: thread-compatible.
class Inflater {
 public:
  Inflater();
  ~Inflater();
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  // Takes from the front of `*input` and fills up to `capacity` bytes of `out`;
  // returns how many. Less than `capacity` means that there is no more in `*input`,
  // or that ended() or damaged().
  size_t Inflate(std::string_view* input, char* out, size_t capacity);

  // The whole member was read, and its checksum is right.
  bool ended() const { return ended_; }
  bool damaged() const { return damaged_; }

 private:
  z_stream zlib_ = {};
  bool ended_ = false;
  bool damaged_ = false;
};

// Whether `bytes` begin as gzip does.
bool LooksLikeGzip(std::string_view bytes);

// How many bytes `gzip` says that it inflates to, from its last four; no more than
// deflate can make of its length. 0 when it is too short to be gzip. InflateGzip
// needs that much memory.
int64_t InflatedSize(std::string_view gzip);

// Replaces `*out` with what `gzip` inflates to. The room is known beforehand, so
// there is one allocation, of `max_bytes` at most, and what inflates to more than
// it says is given up there.
// Errors: InvalidArgument (UNDECODABLE) for damaged gzip; ResourceExhausted
// (MESSAGE_TOO_LARGE).
absl::Status InflateGzip(std::string_view gzip, int64_t max_bytes, std::string* out);

// What a message of more than `max_bytes` is refused with.
absl::Status MessageTooLarge(int64_t max_bytes);

}  // namespace weir::rpc
