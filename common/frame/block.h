// Samples as columns: the bytes that lie in the WAL, travel to the aggregator
// and are folded from, encoded once.
//
//   block  = header, refs, times, values
//   header = varint sample count · u8 shape · zigzag varint base time
//            · [varint time unit]
//   column = count little-endian numbers of the width the shape names
//
// Each column is written at the narrowest of 1, 2, 4, 8 bytes that holds it
// (floats: 4 or 8), so decoding is a copy without a branch per sample. Times are
// unsigned multiples of a unit (1 ns, 1 us, 1 ms or 1 s, the coarsest that loses
// nothing) above the base, which is the block's earliest. A thousand samples of
// a thousand series take 6 to 18 bytes each. docs/formats/frame.md has the bytes.
//
// Thread safety: pure functions; values thread-compatible.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "common/base/bytes.h"

namespace weir::frame {

// The most samples in one block; larger batches are cut.
inline constexpr size_t kMaxBlockSamples = 4096;

enum class ValueType : uint8_t { kFloat = 0, kInteger = 1, kPoint = 2 };
inline constexpr size_t kValueTypes = 3;

// A block decoded, or to be encoded: columns of equal length. Integers are kept
// in `bits` as their two's complement, floats as their IEEE 754 bits; of points it
// is the lengths, and `points` has them one after the other.
struct Block {
  ValueType type = ValueType::kFloat;
  std::vector<uint32_t> refs;  // series by their number in the segment
  std::vector<int64_t> times;  // event times, Unix nanoseconds
  std::vector<uint64_t> bits;
  std::string points;

  size_t size() const { return refs.size(); }
  void Clear() { refs.clear(), times.clear(), bits.clear(), points.clear(); }
};

// Columns somebody else keeps; a Block is one as well.
struct BlockView {
  BlockView(ValueType value_type, absl::Span<const uint32_t> ref_column,
            absl::Span<const int64_t> time_column, absl::Span<const uint64_t> bit_column,
            std::string_view point_bytes = {})
      : type(value_type),
        refs(ref_column),
        times(time_column),
        bits(bit_column),
        points(point_bytes) {}
  BlockView(const Block& block)  // NOLINT(google-explicit-constructor)
      : BlockView(block.type, block.refs, block.times, block.bits, block.points) {}

  ValueType type;
  absl::Span<const uint32_t> refs;
  absl::Span<const int64_t> times;
  absl::Span<const uint64_t> bits;
  std::string_view points;

  size_t size() const { return refs.size(); }
};

// The same samples give the same bytes.
// REQUIRES: 1 to kMaxBlockSamples samples; columns of equal length; lengths that
// add up to the points' bytes, each below 2^32.
void AppendBlock(const BlockView& block, std::string* out);

// Reads the next block of `reader` into `*block`, reusing its buffers. A column
// wider than it needs to be is read all the same, so that an encoder need not
// look for the narrowest; nothing is allocated beyond what the bytes there are
// can hold.
// Errors: DataLoss, and `*block` is as it was, for bytes that are not a block.
absl::Status ReadBlock(ByteReader* reader, Block* block);

}  // namespace weir::frame
