#include "common/frame/block.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "common/base/random.h"
#include "common/testing/test_seed.h"

namespace weir::frame {
namespace {

constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
constexpr int64_t kMin = std::numeric_limits<int64_t>::min();
constexpr int64_t kJune = 1'750'000'000'000'000'000;

Block Integers(std::vector<int64_t> values) {
  Block block;
  block.type = ValueType::kInteger;
  for (const int64_t value : values) {
    block.refs.push_back(0);
    block.times.push_back(kJune);
    block.bits.push_back(static_cast<uint64_t>(value));
  }
  return block;
}

Block Floats(std::vector<double> values) {
  Block block = Integers(std::vector<int64_t>(values.size()));
  block.type = ValueType::kFloat;
  for (size_t i = 0; i < values.size(); ++i) block.bits[i] = std::bit_cast<uint64_t>(values[i]);
  return block;
}

Block Timed(std::vector<int64_t> times) {
  Block block = Integers(std::vector<int64_t>(times.size()));
  block.times = std::move(times);
  return block;
}

std::string Encoded(const Block& block) {
  std::string bytes;
  AppendBlock(block, &bytes);
  return bytes;
}

// Encodes, decodes, compares, and returns how many bytes it took.
size_t RoundTrip(const Block& block) {
  const std::string bytes = Encoded(block);
  ByteReader reader(bytes);
  Block decoded;
  const absl::Status status = ReadBlock(&reader, &decoded);
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_TRUE(reader.empty());
  EXPECT_EQ(decoded.type, block.type);
  EXPECT_EQ(decoded.refs, block.refs);
  EXPECT_EQ(decoded.times, block.times);
  EXPECT_EQ(decoded.bits, block.bits);
  return bytes.size();
}

// One sample's header: count, shape and nine bytes of base time.
constexpr size_t kHeader = 1 + 1 + 9;

TEST(BlockTest, IntegersTakeTheNarrowestWidthThatHoldsTheirSign) {
  const struct {
    int64_t value;
    size_t width;
  } kCases[] = {{0, 1},          {-1, 1},          {127, 1},        {-128, 1},
                {128, 2},        {-129, 2},        {32767, 2},      {-32768, 2},
                {32768, 4},      {-32769, 4},      {2147483647, 4}, {-2147483648LL, 4},
                {2147483648, 8}, {-2147483649, 8}, {kMax, 8},       {kMin, 8}};
  for (const auto& [value, width] : kCases) {
    EXPECT_EQ(RoundTrip(Integers({value})), kHeader + 1 + 1 + width) << value;
    EXPECT_EQ(RoundTrip(Integers({0, value, -1})), kHeader + 3 * (1 + 1 + width)) << value;
  }
}

TEST(BlockTest, FloatsTakeFourBytesWhenNothingIsLost) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  for (const double value : {0.0, -0.0, 1.0, 0.5, -1234.75, 3e5, kInfinity}) {
    EXPECT_EQ(RoundTrip(Floats({value})), kHeader + 1 + 1 + 4) << value;
  }
  for (const double value :
       {0.1, 1e300, -1e300, 5e-324, 16777217.0, 1 / 3.0, std::numeric_limits<double>::max()}) {
    EXPECT_EQ(RoundTrip(Floats({value})), kHeader + 1 + 1 + 8) << value;
  }
  EXPECT_EQ(RoundTrip(Floats({0.5, 0.1})), kHeader + 2 * (1 + 1 + 8));
}

TEST(BlockTest, EveryBitOfANanSurvives) {
  Block block = Floats({0, 0, 0});
  block.bits = {0x7ff8000000000001, 0x7ff0000000000001, 0xffffffffffffffff};
  RoundTrip(block);
}

TEST(BlockTest, ReferencesTakeOneTwoOrFourBytes) {
  const struct {
    uint32_t ref;
    size_t width;
  } kCases[] = {{0, 1}, {255, 1}, {256, 2}, {65535, 2}, {65536, 4}, {0xffffffff, 4}};
  for (const auto& [ref, width] : kCases) {
    Block block = Integers({0});
    block.refs = {ref};
    EXPECT_EQ(RoundTrip(block), kHeader + width + 1 + 1) << ref;
  }
}

TEST(BlockTest, TimesUseTheCoarsestUnitThatMakesThemNarrower) {
  constexpr int64_t kMilli = 1'000'000;
  // Two samples; a unit costs 2, 3 or 5 bytes, and then each time one byte.
  EXPECT_EQ(RoundTrip(Timed({kJune, kJune + 255})), kHeader + 2 * 3);
  EXPECT_EQ(RoundTrip(Timed({kJune, kJune + 200'000})), kHeader + 2 + 2 * 3);
  EXPECT_EQ(RoundTrip(Timed({kJune, kJune + 200 * kMilli})), kHeader + 3 + 2 * 3);
  EXPECT_EQ(RoundTrip(Timed({kJune, kJune + 200'000 * kMilli})), kHeader + 5 + 2 * 3);
  // One nanosecond more, and no unit fits.
  EXPECT_EQ(RoundTrip(Timed({kJune, kJune + 200'001})), kHeader + 2 * (1 + 4 + 1));
  EXPECT_EQ(RoundTrip(Timed({kJune, kJune + 200'000 * kMilli + 1})), kHeader + 2 * (1 + 8 + 1));
}

TEST(BlockTest, TimesOfAnyOrderAndDistanceSurvive) {
  RoundTrip(Timed({kJune + 5, kJune, kJune + 3}));
  RoundTrip(Timed({kMin, kMax, 0}));
  RoundTrip(Timed({kMax, kMax - 1}));
  RoundTrip(Timed({kMin}));
  RoundTrip(Timed({-1'000'000'000, 0, 4'000'000'000}));
}

TEST(BlockTest, TheLargestBlockSurvives) {
  RoundTrip(Integers(std::vector<int64_t>(kMaxBlockSamples, 7)));
}

TEST(BlockTest, RandomBlocksSurviveInOneBuffer) {
  Random random(test::TestSeed());
  Block decoded;
  for (int round = 0; round < 3000; ++round) {
    Block block;
    block.type = static_cast<ValueType>(random.Below(kValueTypes));
    const uint64_t units[] = {1, 1'000, 1'000'000, 1'000'000'000};
    const uint64_t unit = units[random.Below(4)];
    const int ref_shift = static_cast<int>(random.Below(32));
    const int time_shift = 8 + static_cast<int>(random.Below(56));
    const int value_shift = static_cast<int>(random.Below(64));
    const uint64_t base = random.Below(8) == 0 ? random() : kJune;
    const size_t count = 1 + random.Below(random.Below(20) == 0 ? kMaxBlockSamples : 40);
    size_t point_bytes = 0;
    for (size_t i = 0; i < count; ++i) {
      block.refs.push_back(static_cast<uint32_t>(random()) >> ref_shift);
      block.times.push_back(static_cast<int64_t>(base + (random() >> time_shift) * unit));
      if (block.type == ValueType::kPoint) {
        block.points.append(random.Below(uint64_t{1} << random.Below(10)), static_cast<char>(i));
        block.bits.push_back(block.points.size() - point_bytes);
        point_bytes = block.points.size();
        continue;
      }
      const auto integer = static_cast<int64_t>(random()) >> value_shift;
      block.bits.push_back(block.type == ValueType::kInteger
                               ? static_cast<uint64_t>(integer)
                               : std::bit_cast<uint64_t>(static_cast<double>(integer) / 8));
    }
    const std::string bytes = Encoded(block);
    ByteReader reader(bytes);
    ASSERT_TRUE(ReadBlock(&reader, &decoded).ok());
    ASSERT_TRUE(reader.empty());
    ASSERT_EQ(decoded.type, block.type);
    ASSERT_EQ(decoded.refs, block.refs);
    ASSERT_EQ(decoded.times, block.times);
    ASSERT_EQ(decoded.bits, block.bits);
    ASSERT_EQ(decoded.points, block.points);
  }
}

TEST(BlockTest, BlocksFollowOneAnother) {
  std::string bytes = Encoded(Integers({1, 2, 3}));
  AppendBlock(Floats({0.1}), &bytes);
  ByteReader reader(bytes);
  Block block;
  ASSERT_TRUE(ReadBlock(&reader, &block).ok());
  EXPECT_EQ(block.size(), 3u);
  ASSERT_TRUE(ReadBlock(&reader, &block).ok());
  EXPECT_EQ(block.size(), 1u);
  EXPECT_TRUE(reader.empty());
}

TEST(BlockTest, EveryCutIsDataLossAndLeavesTheBlockAsItWas) {
  const std::string bytes = Encoded(Floats({0.1, 0.2, 0.3}));
  for (size_t length = 0; length < bytes.size(); ++length) {
    ByteReader reader(std::string_view(bytes).substr(0, length));
    Block block = Integers({42});
    EXPECT_TRUE(absl::IsDataLoss(ReadBlock(&reader, &block))) << length;
    EXPECT_EQ(block.size(), 1u);
    EXPECT_EQ(block.type, ValueType::kInteger);
  }
}

TEST(BlockTest, ImpossibleHeadersAreDataLoss) {
  const auto read = [](uint64_t count, uint8_t shape, int64_t base, std::string_view rest) {
    std::string bytes;
    AppendVarint(count, &bytes);
    AppendFixed(shape, &bytes);
    AppendVarint(ZigZag(base), &bytes);
    bytes.append(rest);
    bytes.append(64, '\xff');
    ByteReader reader(bytes);
    Block block;
    return ReadBlock(&reader, &block);
  };
  constexpr uint8_t kInteger = 0x40;
  EXPECT_TRUE(read(1, kInteger, kJune, "").ok());
  EXPECT_TRUE(absl::IsDataLoss(read(0, kInteger, kJune, "")));
  EXPECT_TRUE(absl::IsDataLoss(read(kMaxBlockSamples + 1, kInteger, kJune, "")));
  EXPECT_TRUE(absl::IsDataLoss(read(uint64_t{1} << 63, kInteger, kJune, "")));
  EXPECT_TRUE(absl::IsDataLoss(read(1, kInteger | 3, kJune, ""))) << "integer points";
  EXPECT_TRUE(read(1, 3, kJune, "\x01\x01\x01\x01\x01\x05").ok()) << "a point of 5 bytes";
  EXPECT_TRUE(absl::IsDataLoss(read(1, 3 | 3 << 4, kJune, ""))) << "lengths of 8 bytes";
  EXPECT_TRUE(absl::IsDataLoss(read(1, 3, kJune, ""))) << "a point of 255 bytes, cut short";
  EXPECT_TRUE(absl::IsDataLoss(read(1, 0, kJune, ""))) << "floats of 1 byte";
  EXPECT_TRUE(absl::IsDataLoss(read(1, kInteger | 0x80, kJune, "\x02"))) << "a unit of 2 ns";
  EXPECT_TRUE(read(1, kInteger | 0x80, kJune, "\xe8\x07").ok()) << "a unit of 1 us";
  // The time is base + 255, and an int64 ends there.
  EXPECT_TRUE(read(1, kInteger, kMax - 255, "").ok());
  EXPECT_TRUE(absl::IsDataLoss(read(1, kInteger, kMax - 254, "")));
  EXPECT_TRUE(absl::IsDataLoss(read(1, kInteger | 0x80, kMax - 254'999, "\xe8\x07")));
  EXPECT_TRUE(absl::IsDataLoss(read(1, kInteger | 3 << 2, 0, ""))) << "2^64 - 1 ns past 1970";
  EXPECT_TRUE(read(1, kInteger | 3 << 2, kMin, "").ok()) << "2^64 - 1 ns past the least";
}

TEST(BlockTest, AColumnWiderThanItNeedsToBeIsRead) {
  // count 1, references, times and integers of 4 bytes each, base 0.
  const std::string bytes("\1\x6a\0\5\0\0\0\6\0\0\0\xf9\xff\xff\xff", 15);
  ByteReader reader(bytes);
  Block block;
  ASSERT_TRUE(ReadBlock(&reader, &block).ok());
  EXPECT_EQ(block.refs[0], 5u);
  EXPECT_EQ(block.times[0], 6);
  EXPECT_EQ(static_cast<int64_t>(block.bits[0]), -7);
}

}  // namespace
}  // namespace weir::frame
