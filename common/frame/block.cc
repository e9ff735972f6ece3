// How a block is written and read without a branch per sample.
//
// Writing first reduces each column to one word (the OR of what its values
// need), from which its width follows, then narrows the column in one loop.
// Reading is one loop a column that widens; which of the loops runs is decided
// once a block. All of them are copies the compiler turns into vector code.
#include "common/frame/block.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"

namespace weir::frame {
namespace {

// The shape byte: bits 0-1, 2-3 and 4-5 are the logarithms of the bytes a
// reference, time and value take; bit 6 tells integers from floats; bit 7, that
// a time unit follows. Of points, bits 0-1 are 3, though references take 4 bytes,
// and values are the lengths of what follows the columns.
constexpr int kPointShape = 3;
constexpr int kPointRefWidth = 2;
constexpr int kTimeShift = 2;
constexpr int kValueShift = 4;
constexpr uint8_t kIntegerFlag = 1 << 6;
constexpr uint8_t kTimeUnitFlag = 1 << 7;

constexpr uint64_t kMicrosecond = 1'000;
constexpr uint64_t kMillisecond = 1'000'000;
constexpr uint64_t kSecond = 1'000'000'000;

// How wide each column lies, as the logarithm of bytes.
struct Widths {
  int refs = 0;
  int times = 0;
  int values = 0;
  size_t bytes_per_sample() const {
    return (size_t{1} << refs) + (size_t{1} << times) + (size_t{1} << values);
  }
};

int LogWidth(uint64_t largest) {
  const int bits = std::bit_width(largest);
  return bits <= 8 ? 0 : bits <= 16 ? 1 : bits <= 32 ? 2 : 3;
}

// Calls `function` with a value of the unsigned integer type of that width.
template <typename Function>
void WithWidth(int log_width, Function function) {
  switch (log_width) {
    case 0:
      return function(uint8_t{});
    case 1:
      return function(uint16_t{});
    case 2:
      return function(uint32_t{});
    default:
      return function(uint64_t{});
  }
}

// Narrowing.

uint32_t AllBits(absl::Span<const uint32_t> refs) {
  uint32_t bits = 0;
  for (const uint32_t ref : refs) bits |= ref;
  return bits;
}

// Has as many bits as the largest magnitude, sign included.
uint64_t AllSignedBits(absl::Span<const uint64_t> values) {
  uint64_t bits = 0;
  for (const uint64_t value : values) {
    const auto number = static_cast<int64_t>(value);
    bits |= static_cast<uint64_t>(number ^ (number >> 63));
  }
  return bits << 1;
}

bool AllFitFloat32(absl::Span<const uint64_t> values) {
  uint64_t lost = 0;
  for (const uint64_t value : values) {
    const double number = std::bit_cast<double>(value);
    const double back = static_cast<double>(static_cast<float>(number));
    lost |= value ^ std::bit_cast<uint64_t>(back);
  }
  return lost == 0;
}

int ValueWidth(const BlockView& block) {
  switch (block.type) {
    case ValueType::kInteger:
      return LogWidth(AllSignedBits(block.bits));
    case ValueType::kFloat:
      return AllFitFloat32(block.bits) ? 2 : 3;
    case ValueType::kPoint:
      break;
  }
  uint64_t bits = 0;
  uint64_t total = 0;
  for (const uint64_t length : block.bits) {
    bits |= length;
    total += length;
  }
  WEIR_CHECK(bits >> 32 == 0 && total == block.points.size());
  return LogWidth(bits);
}

// Whether every time is `unit` or a multiple of it past `base`. Looks at a few
// at a time: when the answer is no, it usually shows at once.
template <uint64_t kUnit>
bool AllMultiplesOf(absl::Span<const int64_t> times, uint64_t base) {
  constexpr size_t kStride = 16;
  for (size_t begin = 0; begin < times.size(); begin += kStride) {
    const size_t end = std::min(begin + kStride, times.size());
    uint64_t remainders = 0;
    for (size_t i = begin; i < end; ++i) {
      remainders |= (static_cast<uint64_t>(times[i]) - base) % kUnit;
    }
    if (remainders != 0) return false;
  }
  return true;
}

// The coarsest unit that loses nothing, if it makes the column narrower.
uint64_t ChooseUnit(absl::Span<const int64_t> times, uint64_t base, uint64_t largest) {
  const int width = LogWidth(largest);
  const auto narrower = [&](uint64_t unit) { return LogWidth(largest / unit) < width; };
  if (narrower(kSecond) && AllMultiplesOf<kSecond>(times, base)) return kSecond;
  if (narrower(kMillisecond) && AllMultiplesOf<kMillisecond>(times, base)) return kMillisecond;
  if (narrower(kMicrosecond) && AllMultiplesOf<kMicrosecond>(times, base)) return kMicrosecond;
  return 1;
}

template <typename Narrow, uint64_t kUnit>
char* StoreTimes(absl::Span<const int64_t> times, uint64_t base, char* out) {
  const int64_t* in = times.data();
  const size_t count = times.size();
  for (size_t i = 0; i < count; ++i) {
    const uint64_t offset = static_cast<uint64_t>(in[i]) - base;
    StoreFixed(static_cast<Narrow>(offset / kUnit), out + i * sizeof(Narrow));
  }
  return out + count * sizeof(Narrow);
}

template <typename Narrow, typename Wide>
char* StoreNarrow(absl::Span<const Wide> values, char* out) {
  const Wide* in = values.data();
  const size_t count = values.size();
  for (size_t i = 0; i < count; ++i) {
    StoreFixed(static_cast<Narrow>(in[i]), out + i * sizeof(Narrow));
  }
  return out + count * sizeof(Narrow);
}

char* StoreFloat32(absl::Span<const uint64_t> values, char* out) {
  const uint64_t* in = values.data();
  const size_t count = values.size();
  for (size_t i = 0; i < count; ++i) {
    StoreFixed(static_cast<float>(std::bit_cast<double>(in[i])), out + i * sizeof(float));
  }
  return out + count * sizeof(float);
}

// Widening.

template <typename Narrow, typename Wide>
void LoadWide(const char* in, std::vector<Wide>* values) {
  Wide* out = values->data();
  const size_t count = values->size();
  for (size_t i = 0; i < count; ++i) {
    out[i] = static_cast<Wide>(LoadFixed<Narrow>(in + i * sizeof(Narrow)));
  }
}

void LoadFloat32(const char* in, std::vector<uint64_t>* values) {
  uint64_t* out = values->data();
  const size_t count = values->size();
  for (size_t i = 0; i < count; ++i) {
    out[i] = std::bit_cast<uint64_t>(static_cast<double>(LoadFixed<float>(in + i * sizeof(float))));
  }
}

// The product is taken from 32-bit factors where the column is narrow, since
// that is what vector units multiply.
template <typename Narrow>
void LoadTimes(const char* in, uint64_t base, uint64_t unit, std::vector<int64_t>* times) {
  int64_t* out = times->data();
  const size_t count = times->size();
  if (unit == 1) {
    for (size_t i = 0; i < count; ++i) {
      out[i] = static_cast<int64_t>(base + LoadFixed<Narrow>(in + i * sizeof(Narrow)));
    }
    return;
  }
  const uint32_t narrow_unit = static_cast<uint32_t>(unit);  // at most a second
  for (size_t i = 0; i < count; ++i) {
    const Narrow multiple = LoadFixed<Narrow>(in + i * sizeof(Narrow));
    out[i] = static_cast<int64_t>(base + static_cast<uint64_t>(multiple) * narrow_unit);
  }
}

// Whether every time lies within an int64. Most columns are too narrow to reach
// its end, so their values need not be looked at.
bool TimesFit(std::string_view column, int log_width, int64_t base, uint64_t unit) {
  const uint64_t room =
      static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) - static_cast<uint64_t>(base);
  const uint64_t most = room / unit;
  uint64_t largest = std::numeric_limits<uint64_t>::max() >> (64 - (8 << log_width));
  if (largest <= most) return true;
  largest = 0;
  WithWidth(log_width, [&](auto narrow) {
    using Narrow = decltype(narrow);
    for (size_t at = 0; at < column.size(); at += sizeof(Narrow)) {
      largest = std::max(largest, uint64_t{LoadFixed<Narrow>(column.data() + at)});
    }
  });
  return largest <= most;
}

// The sum of a column of lengths, each of at most 4 bytes.
uint64_t TotalOf(std::string_view column, int log_width) {
  uint64_t total = 0;
  WithWidth(log_width, [&](auto narrow) {
    using Narrow = decltype(narrow);
    for (size_t at = 0; at < column.size(); at += sizeof(Narrow)) {
      total += LoadFixed<Narrow>(column.data() + at);
    }
  });
  return total;
}

absl::Status Malformed(const char* what) {
  return absl::DataLossError(absl::StrCat("block: ", what));
}

}  // namespace

void AppendBlock(const BlockView& block, std::string* out) {
  const size_t count = block.size();
  WEIR_CHECK(count > 0 && count <= kMaxBlockSamples);
  WEIR_CHECK(block.times.size() == count && block.bits.size() == count);

  int64_t earliest = block.times[0];
  int64_t latest = block.times[0];
  for (const int64_t time : block.times) {
    earliest = std::min(earliest, time);
    latest = std::max(latest, time);
  }
  const auto base = static_cast<uint64_t>(earliest);
  const uint64_t largest_offset = static_cast<uint64_t>(latest) - base;
  const uint64_t unit = ChooseUnit(block.times, base, largest_offset);
  const bool integers = block.type == ValueType::kInteger;
  const bool points = block.type == ValueType::kPoint;
  Widths widths;
  widths.refs = points ? kPointRefWidth : LogWidth(AllBits(block.refs));
  widths.times = LogWidth(largest_offset / unit);
  widths.values = ValueWidth(block);

  AppendVarint(count, out);
  AppendFixed(static_cast<uint8_t>((points ? kPointShape : widths.refs) |
                                   widths.times << kTimeShift | widths.values << kValueShift |
                                   (integers ? kIntegerFlag : 0) | (unit == 1 ? 0 : kTimeUnitFlag)),
              out);
  AppendVarint(ZigZag(earliest), out);
  if (unit != 1) AppendVarint(unit, out);

  const size_t header_end = out->size();
  out->resize(header_end + count * widths.bytes_per_sample());
  char* at = out->data() + header_end;
  WithWidth(widths.refs, [&](auto narrow) { at = StoreNarrow<decltype(narrow)>(block.refs, at); });
  WithWidth(widths.times, [&](auto narrow) {
    using Narrow = decltype(narrow);
    switch (unit) {
      case kSecond:
        at = StoreTimes<Narrow, kSecond>(block.times, base, at);
        break;
      case kMillisecond:
        at = StoreTimes<Narrow, kMillisecond>(block.times, base, at);
        break;
      case kMicrosecond:
        at = StoreTimes<Narrow, kMicrosecond>(block.times, base, at);
        break;
      default:
        at = StoreTimes<Narrow, 1>(block.times, base, at);
    }
  });
  if (block.type == ValueType::kFloat && widths.values == 2) {
    at = StoreFloat32(block.bits, at);
  } else {
    WithWidth(widths.values,
              [&](auto narrow) { at = StoreNarrow<decltype(narrow)>(block.bits, at); });
  }
  WEIR_CHECK(at == out->data() + out->size());
  out->append(block.points);
}

absl::Status ReadBlock(ByteReader* reader, Block* block) {
  const uint64_t count = reader->Varint();
  const uint8_t shape = reader->Fixed<uint8_t>();
  const int64_t base = UnZigZag(reader->Varint());
  const uint64_t unit = (shape & kTimeUnitFlag) != 0 ? reader->Varint() : 1;
  if (!reader->ok()) return Malformed("its header is cut short");
  if (count == 0 || count > kMaxBlockSamples) return Malformed("impossible sample count");
  if (unit != 1 && unit != kMicrosecond && unit != kMillisecond && unit != kSecond) {
    return Malformed("unknown time unit");
  }
  const bool integers = (shape & kIntegerFlag) != 0;
  const bool points = (shape & 3) == kPointShape;
  const Widths widths = {.refs = points ? kPointRefWidth : shape & 3,
                         .times = shape >> kTimeShift & 3,
                         .values = shape >> kValueShift & 3};
  if (points && (integers || widths.values > 2)) return Malformed("points of an unknown shape");
  if (!points && !integers && widths.values < 2) return Malformed("floats of fewer than 4 bytes");
  const std::string_view refs = reader->Bytes(count << widths.refs);
  const std::string_view times = reader->Bytes(count << widths.times);
  const std::string_view values = reader->Bytes(count << widths.values);
  if (!reader->ok()) return Malformed("its columns are cut short");
  if (!TimesFit(times, widths.times, base, unit)) return Malformed("a time out of range");
  std::string_view point_bytes;
  if (points) {
    point_bytes = reader->Bytes(TotalOf(values, widths.values));
    if (!reader->ok()) return Malformed("its points are cut short");
  }

  block->type = points ? ValueType::kPoint : integers ? ValueType::kInteger : ValueType::kFloat;
  block->points.assign(point_bytes);
  block->refs.resize(count);
  block->times.resize(count);
  block->bits.resize(count);
  WithWidth(widths.refs,
            [&](auto narrow) { LoadWide<decltype(narrow)>(refs.data(), &block->refs); });
  WithWidth(widths.times, [&](auto narrow) {
    LoadTimes<decltype(narrow)>(times.data(), static_cast<uint64_t>(base), unit, &block->times);
  });
  if (block->type == ValueType::kPoint) {
    WithWidth(widths.values,
              [&](auto narrow) { LoadWide<decltype(narrow)>(values.data(), &block->bits); });
  } else if (!integers && widths.values == 2) {
    LoadFloat32(values.data(), &block->bits);
  } else {
    WithWidth(widths.values, [&](auto narrow) {
      using Signed = std::make_signed_t<decltype(narrow)>;
      LoadWide<Signed>(values.data(), &block->bits);
    });
  }
  return absl::OkStatus();
}

}  // namespace weir::frame
