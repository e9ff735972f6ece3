#include "common/sketch/sketch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <limits>
#include <string>
#include <vector>

#include "common/base/bytes.h"
#include "common/base/random.h"
#include "common/testing/test_seed.h"

namespace weir {
namespace {

constexpr double kLargest = std::numeric_limits<double>::max();
constexpr double kLeast = std::numeric_limits<double>::denorm_min();

Sketch Of(const std::vector<double>& values) {
  Sketch sketch;
  for (const double value : values) sketch.Add(value);
  return sketch;
}

std::string Encoded(const Sketch& sketch) {
  std::string bytes;
  sketch.AppendTo(&bytes);
  return bytes;
}

std::string ToHex(std::string_view bytes) {
  std::string hex;
  for (const char c : bytes) {
    char pair[4];
    std::snprintf(pair, sizeof pair, "%02x ", static_cast<unsigned char>(c));
    hex += pair;
  }
  return hex;
}

// The index of the only bucket of a sketch of one positive value, as written.
int64_t IndexIn(double value) {
  const std::string bytes = Encoded(Of({value}));
  ByteReader reader(bytes);
  reader.Fixed<uint8_t>();
  EXPECT_EQ(UnZigZag(reader.Varint()), Sketch::kInitialScale);
  reader.Varint();
  EXPECT_EQ(reader.Varint(), 1u);
  return UnZigZag(reader.Varint());
}

std::vector<double> RandomValues(Random& random, size_t count) {
  const auto shape = random.Below(5);
  const double spread = std::ldexp(1.0, static_cast<int>(random.Below(8)));
  std::vector<double> values;
  for (size_t i = 0; i < count; ++i) {
    const double fraction = random.Fraction();
    switch (shape) {
      case 0:
        values.push_back(fraction * spread);
        break;  // uniform
      case 1:
        values.push_back(std::exp2((fraction - 0.5) * spread));
        break;  // log-uniform
      case 2:
        values.push_back((fraction - 0.3) * spread);
        break;  // of both signs
      case 3:
        values.push_back(std::floor(fraction * 4) - 1);
        break;  // ties and zeros
      default:
        values.push_back(std::ldexp(
            fraction + 0.5, static_cast<int>(random.Below(2000)) - 1000));  // nearly any double
    }
  }
  return values;
}

// Every quantile that falls on a rank, and a few between, against the sorted
// values.
void ExpectQuantilesRight(const Sketch& sketch, std::vector<double> values) {
  std::sort(values.begin(), values.end());
  ASSERT_EQ(sketch.count(), static_cast<int64_t>(values.size()));
  const double error = sketch.RelativeError() * (1 + 1e-12) + 1e-15;
  const auto expect = [&](double q, size_t rank) {
    const double exact = values[rank - 1];
    ASSERT_LE(std::fabs(sketch.Quantile(q) - exact), error * std::fabs(exact))
        << "q=" << q << " of " << values.size() << " scale " << sketch.scale();
  };
  expect(0, 1);
  expect(1, values.size());
  for (size_t rank = 1; rank <= values.size(); rank += 1 + values.size() / 50) {
    const double count = static_cast<double>(values.size());
    expect(static_cast<double>(rank) / count, rank);
    expect((static_cast<double>(rank) - 0.5) / count, rank);
  }
}

TEST(SketchTest, QuantilesAreWithinTheErrorOfTheExactOnes) {
  Random random(test::TestSeed());
  for (int round = 0; round < 500; ++round) {
    const std::vector<double> values = RandomValues(random, 1 + random.Below(1000));
    ExpectQuantilesRight(Of(values), values);
    if (HasFatalFailure()) return;
  }
}

TEST(SketchTest, AQuantileIsTheValueOfRankCeilingOfQTimesN) {
  Sketch sketch;
  for (int i = 0; i < 100; ++i) sketch.Add(std::exp2(i));
  const auto rank = [&](double q) { return std::lround(std::log2(sketch.Quantile(q))) + 1; };
  EXPECT_EQ(rank(0), 1);
  EXPECT_EQ(rank(0.001), 1);
  EXPECT_EQ(rank(0.01), 1);
  EXPECT_EQ(rank(0.011), 2);
  EXPECT_EQ(rank(0.07), 7) << "0.07 * 100 is 7.000000000000001 in doubles";
  EXPECT_EQ(rank(0.5), 50);
  EXPECT_EQ(rank(0.999), 100);
  EXPECT_EQ(rank(1), 100);
  for (int percent = 1; percent <= 100; ++percent) EXPECT_EQ(rank(percent / 100.0), percent);
}

TEST(SketchTest, TheErrorIsTheHeadersAndIsReached) {
  EXPECT_NEAR(Sketch().RelativeError(), 0.01083, 0.000005);
  // A power of two is the top of its bucket: as far from the middle as can be.
  const Sketch sketch = Of({1024});
  EXPECT_NEAR((1024 - sketch.Quantile(1)) / 1024, sketch.RelativeError(), 1e-12);
}

TEST(SketchTest, PowersOfTwoAreTheTopsOfTheirBuckets) {
  for (int exponent = -1074; exponent < 1024; ++exponent) {
    const double power = std::ldexp(1.0, exponent);
    ASSERT_EQ(IndexIn(power), exponent * 32 - 1) << exponent;
    if (exponent < -1068) continue;  // there the next double is a bucket away
    ASSERT_EQ(IndexIn(std::nextafter(power, kLargest)), exponent * 32) << exponent;
  }
  EXPECT_EQ(IndexIn(kLargest), 1024 * 32 - 1);
  EXPECT_EQ(IndexIn(kLeast), -1074 * 32 - 1);
}

// An unsigned integer of any length, least significant word first.
using BigInteger = std::vector<uint32_t>;

BigInteger Product(const BigInteger& a, const BigInteger& b) {
  BigInteger product(a.size() + b.size(), 0);
  for (size_t i = 0; i < a.size(); ++i) {
    uint64_t carry = 0;
    for (size_t j = 0; j < b.size(); ++j) {
      carry += product[i + j] + uint64_t{a[i]} * b[j];
      product[i + j] = static_cast<uint32_t>(carry);
      carry >>= 32;
    }
    product[i + b.size()] = static_cast<uint32_t>(carry);
  }
  return product;
}

int BitLength(const BigInteger& number) {
  for (size_t i = number.size(); i-- > 0;) {
    if (number[i] != 0) return static_cast<int>(i * 32) + std::bit_width(number[i]);
  }
  return 0;
}

// Whether fraction / 2^52 <= 2^(k/32), exactly: fraction^32 <= 2^(52 * 32 + k).
// An integer below 2^n has at most n bits; no power here is 2^n but for k = 0.
bool AtMostBoundary(uint64_t fraction, int k) {
  BigInteger power = {static_cast<uint32_t>(fraction), static_cast<uint32_t>(fraction >> 32)};
  for (int i = 0; i < 5; ++i) power = Product(power, power);
  return BitLength(power) <= 52 * 32 + k;
}

TEST(SketchTest, BoundariesWithinAnOctaveAreExact) {
  for (int k = 1; k < 32; ++k) {
    // The largest fraction not above the boundary, by bisection.
    uint64_t low = uint64_t{1} << 52;
    uint64_t high = uint64_t{1} << 53;
    while (high - low > 1) {
      const uint64_t middle = (low + high) / 2;
      (AtMostBoundary(middle, k) ? low : high) = middle;
    }
    for (const int exponent : {-1000, -1, 0, 1, 1000}) {
      const double below = std::ldexp(static_cast<double>(low), exponent - 52);
      const double above = std::ldexp(static_cast<double>(high), exponent - 52);
      EXPECT_EQ(IndexIn(below), exponent * 32 + k - 1) << k;
      EXPECT_EQ(IndexIn(above), exponent * 32 + k) << k;
    }
  }
}

TEST(SketchTest, IndexesAgreeWithLogarithmsAwayFromBoundaries) {
  Random random(test::TestSeed());
  for (int i = 0; i < 100'000; ++i) {
    const double value =
        std::ldexp(0.5 + random.Fraction() / 2, static_cast<int>(random.Below(2090)) - 1070);
    if (value == 0 || std::isinf(value)) continue;
    const long double exact = std::log2(static_cast<long double>(value)) * 32;
    if (std::fabs(exact - std::round(exact)) < 1e-12L) continue;
    ASSERT_EQ(IndexIn(value), static_cast<int64_t>(std::ceil(exact)) - 1) << value;
  }
}

TEST(SketchTest, ZerosNegativesAndExtremesAreInOrder) {
  const Sketch sketch = Of({-kLargest, -1, -kLeast, -0.0, 0.0, kLeast, 1, kLargest});
  EXPECT_EQ(sketch.count(), 8);
  double before = -std::numeric_limits<double>::infinity();
  for (int rank = 1; rank <= 8; ++rank) {
    const double value = sketch.Quantile(rank / 8.0);
    EXPECT_TRUE(std::isfinite(value));
    EXPECT_GE(value, before);
    before = value;
  }
  EXPECT_EQ(sketch.Quantile(4 / 8.0), 0);
  EXPECT_EQ(sketch.Quantile(5 / 8.0), 0);
  EXPECT_GT(sketch.Quantile(6 / 8.0), 0);
  EXPECT_LT(sketch.Quantile(3 / 8.0), 0);
}

TEST(SketchTest, EachExtremeAloneIsExactToItsError) {
  for (const double value : {kLargest, kLargest / 2, kLeast, 3 * kLeast, 2.3e-308, 1.0}) {
    for (const double sign : {1.0, -1.0}) {
      const Sketch sketch = Of({sign * value});
      const double answer = sketch.Quantile(0.5);
      EXPECT_TRUE(std::isfinite(answer));
      EXPECT_LE(std::fabs(answer - sign * value), value * sketch.RelativeError() * (1 + 1e-12));
    }
  }
}

TEST(SketchTest, TheScaleFallsOnlyWhenTheRangeDoesNotFit) {
  // 1280 buckets: just above 2^0 to 2^40.
  Sketch sketch = Of({std::nextafter(1.0, 2.0), std::ldexp(1.0, 40)});
  EXPECT_EQ(sketch.scale(), 5);
  sketch.Add(1.0);
  EXPECT_EQ(sketch.scale(), 4);
  sketch.Add(kLeast);
  sketch.Add(kLargest);
  EXPECT_EQ(sketch.scale(), -1) << "all doubles fit at 60 % error";
  EXPECT_EQ(sketch.count(), 5);
}

TEST(SketchTest, AFewValuesTakeFewBytes) {
  Sketch sketch;
  EXPECT_LE(sketch.memory_bytes(), 96u);
  for (int i = 0; i < 10; ++i) sketch.Add(0.2 + i * 0.01);
  EXPECT_LE(sketch.memory_bytes(), 96u);
  Random random(1);
  for (int i = 0; i < 500; ++i) sketch.Add(std::exp2(random.Fraction() * 5 - 5));
  EXPECT_LE(sketch.memory_bytes(), 400u);
  EXPECT_LE(Encoded(sketch).size(), 200u);
  // Five values far apart are their counts and the gaps between.
  EXPECT_LE(Encoded(Of({0.001, 0.02, 0.3, 4, 50})).size(), 22u);
}

TEST(SketchTest, MergingIsAddingEverything) {
  Random random(test::TestSeed());
  for (int round = 0; round < 500; ++round) {
    std::vector<double> values = RandomValues(random, random.Below(300));
    const std::vector<double> more = RandomValues(random, random.Below(300));
    values.insert(values.end(), more.begin(), more.end());
    std::vector<Sketch> parts(1 + random.Below(6));
    for (const double value : values) parts[random.Below(parts.size())].Add(value);
    while (parts.size() > 1) {
      const Sketch part = parts.back();
      parts.pop_back();
      parts[random.Below(parts.size())].Merge(part);
    }
    std::shuffle(values.begin(), values.end(), random);
    const Sketch whole = Of(values);
    ASSERT_EQ(parts[0], whole);
    ASSERT_EQ(ToHex(Encoded(parts[0])), ToHex(Encoded(whole)));
    if (!values.empty()) ExpectQuantilesRight(parts[0], values);
    if (HasFatalFailure()) return;
  }
}

// A sketch at any scale, as an OTLP histogram arrives.
Sketch AtScale(Random& random, int scale) {
  std::string bytes("\1", 1);
  AppendVarint(ZigZag(scale), &bytes);
  AppendVarint(random.Below(3), &bytes);
  for (int sign = 0; sign < 2; ++sign) {
    const uint64_t count = 1 + random.Below(scale < 0 ? 1 : 40);
    AppendVarint(count, &bytes);
    AppendVarint(ZigZag(scale < 0 ? 0 : static_cast<int64_t>(random.Below(900)) - 500), &bytes);
    for (uint64_t i = 0; i < count; ++i) AppendVarint(1 + random.Below(1000), &bytes);
  }
  const absl::StatusOr<Sketch> sketch = Sketch::Parse(bytes);
  EXPECT_TRUE(sketch.ok()) << sketch.status();
  return *sketch;
}

TEST(SketchTest, MergingIsAssociativeAndCommutativeAtAnyScale) {
  Random random(test::TestSeed());
  for (int round = 0; round < 1000; ++round) {
    Sketch parts[3];
    for (Sketch& part : parts) {
      part = random.OneIn(3)
                 ? Of(RandomValues(random, random.Below(20)))
                 : AtScale(random, static_cast<int>(random.Below(31)) + Sketch::kMinScale);
    }
    const auto& [a, b, c] = parts;
    Sketch left = a;
    left.Merge(b);
    left.Merge(c);
    Sketch right = c;
    right.Merge(b);
    Sketch swapped = a;
    swapped.Merge(right);
    ASSERT_EQ(ToHex(Encoded(left)), ToHex(Encoded(swapped)));
    ASSERT_EQ(left, swapped);
    ASSERT_EQ(left.count(), a.count() + b.count() + c.count());
  }
}

TEST(SketchTest, AddingToAFinerScaleIsMergingASketchOfOneValue) {
  Random random(test::TestSeed());
  for (int round = 0; round < 200; ++round) {
    Sketch added = AtScale(random, static_cast<int>(random.Below(21)));
    Sketch merged = added;
    const double value = round % 10 == 0 ? 0 : random.Fraction();
    added.Add(value, 3);
    Sketch one;
    one.Add(value, 3);
    merged.Merge(one);
    ASSERT_EQ(added, merged);
    ASSERT_LE(added.scale(), value == 0 ? Sketch::kMaxScale : Sketch::kInitialScale);
  }
}

TEST(SketchTest, MergingNothingChangesNothingAndASketchMayMergeItself) {
  Sketch sketch = Of({1, 2, 3, -4, 0});
  const Sketch before = sketch;
  sketch.Merge(Sketch());
  EXPECT_EQ(sketch, before);
  Sketch empty;
  empty.Merge(before);
  EXPECT_EQ(empty, before);
  sketch.Merge(sketch);
  EXPECT_EQ(sketch, Of({1, 2, 3, -4, 0, 1, 2, 3, -4, 0}));
}

TEST(SketchTest, ParseGivesBackWhatWasAppended) {
  Random random(test::TestSeed());
  for (int round = 0; round < 500; ++round) {
    const Sketch sketch = random.OneIn(2)
                              ? Of(RandomValues(random, random.Below(500)))
                              : AtScale(random, static_cast<int>(random.Below(31)) - 10);
    const absl::StatusOr<Sketch> parsed = Sketch::Parse(Encoded(sketch));
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    ASSERT_EQ(*parsed, sketch);
    ASSERT_EQ(parsed->count(), sketch.count());
  }
}

// Reads hexadecimal digits; '#' begins a comment.
std::string ReadHexFile(const std::string& path) {
  std::ifstream file(path);
  EXPECT_TRUE(file.good()) << path;
  std::string bytes;
  for (std::string line; std::getline(file, line);) {
    std::string digits;
    for (const char c : line.substr(0, line.find('#'))) {
      if (std::isxdigit(static_cast<unsigned char>(c)) != 0) digits.push_back(c);
    }
    for (size_t i = 0; i + 1 < digits.size(); i += 2) {
      bytes.push_back(static_cast<char>(std::stoi(digits.substr(i, 2), nullptr, 16)));
    }
  }
  return bytes;
}

TEST(SketchTest, VersionOneIsWrittenAndReadAsTheGoldenFileHasIt) {
  Sketch sketch = Of({1, 1.01, 1.02, 1.25, -2, 0, 0});
  sketch.Add(1.25, 299);
  const std::string golden = ReadHexFile("tests/golden/sketch_v1.hex");
  EXPECT_EQ(ToHex(Encoded(sketch)), ToHex(golden));
  const absl::StatusOr<Sketch> parsed = Sketch::Parse(golden);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(*parsed, sketch);
  EXPECT_EQ(parsed->count(), 306);
}

TEST(SketchTest, EveryCutAndEveryExtraByteIsDataLoss) {
  const std::string bytes = Encoded(Of({0, 1, 2, 300, -4, -50}));
  for (size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_TRUE(absl::IsDataLoss(Sketch::Parse(bytes.substr(0, length)).status())) << length;
  }
  EXPECT_TRUE(absl::IsDataLoss(Sketch::Parse(bytes + '\0').status()));
}

TEST(SketchTest, WhatAppendToCannotHaveWrittenIsDataLoss) {
  struct Case {
    const char* why;
    std::vector<int64_t> fields;  // after the version: varints
    bool good = false;
  };
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  const auto z = [](int64_t value) { return static_cast<int64_t>(ZigZag(value)); };
  const Case kCases[] = {
      {"empty", {z(5), 0, 0, 0}, true},
      {"one value", {z(5), 0, 1, z(-1), 1, 0}, true},
      {"a run of zeros", {z(5), 0, 4, z(-1), 1, 0, 1, 1, 0}, true},
      {"the least index", {z(5), 0, 1, z(-1074 * 32 - 1), 1, 0}, true},
      {"the largest index", {z(5), 0, 1, z(1024 * 32 - 1), 1, 0}, true},
      {"as many as an int64 counts", {z(5), 1, 1, z(0), kMax - 1, 0}, true},
      {"scale 21", {z(21), 0, 1, z(0), 1, 0}},
      {"scale -11", {z(-11), 0, 1, z(0), 1, 0}},
      {"empty at another scale", {z(4), 0, 0, 0}},
      {"an index below all doubles", {z(5), 0, 1, z(-1074 * 32 - 2), 1, 0}},
      {"an index past all doubles", {z(5), 0, 1, z(1024 * 32), 1, 0}},
      {"a range past all doubles", {z(5), 0, 2, z(1024 * 32 - 1), 1, 1, 0}},
      {"an index past an int", {z(5), 0, 1, z(kMax), 1, 0}},
      {"too many buckets", {z(5), 0, 1281, z(0), 1, 0}},
      {"the first count is zero", {z(5), 0, 2, z(0), 0, 0, 1, 0}},
      {"the last count is zero", {z(5), 0, 2, z(0), 1, 0, 0, 0}},
      {"a run past the end", {z(5), 0, 3, z(0), 1, 0, 5, 1, 0}},
      {"a run to the end", {z(5), 0, 3, z(0), 1, 0, 1, 0}},
      {"two runs side by side", {z(5), 0, 4, z(0), 1, 0, 0, 0, 0, 1, 0}},
      {"more than an int64 counts", {z(5), 2, 1, z(0), kMax - 1, 0}},
      {"more than an int64 counts, in zeros", {z(5), -1, 0, 0}},
      {"more than an int64 counts, by both signs", {z(5), 0, 1, z(0), kMax, 1, z(0), 1}},
  };
  for (const Case& test_case : kCases) {
    std::string bytes("\1", 1);
    for (const int64_t field : test_case.fields) {
      AppendVarint(static_cast<uint64_t>(field), &bytes);
    }
    const absl::StatusOr<Sketch> sketch = Sketch::Parse(bytes);
    EXPECT_EQ(sketch.ok(), test_case.good) << test_case.why << ": " << sketch.status();
    if (sketch.ok()) {
      EXPECT_EQ(ToHex(Encoded(*sketch)), ToHex(bytes)) << test_case.why;
    } else {
      EXPECT_TRUE(absl::IsDataLoss(sketch.status())) << test_case.why;
    }
    bytes[0] = 2;
    EXPECT_TRUE(absl::IsDataLoss(Sketch::Parse(bytes).status())) << "version 2";
  }
  EXPECT_TRUE(absl::IsDataLoss(Sketch::Parse({"\1\x8a\0\0\0\0", 6}).status()))
      << "a varint longer than it needs to be";
}

TEST(SketchTest, NoMutationDoesHarmAndWhatParsesIsCanonical) {
  Random random(test::TestSeed());
  std::vector<std::string> seeds;
  for (int i = 0; i < 20; ++i) seeds.push_back(Encoded(Of(RandomValues(random, 1 + i * i))));
  for (int i = 0; i < 10; ++i) seeds.push_back(Encoded(AtScale(random, 2 * i - 8)));
  int parsed_count = 0;
  for (int round = 0; round < 200'000; ++round) {
    std::string bytes = seeds[random.Below(seeds.size())];
    for (uint64_t mutations = 1 + random.Below(3); mutations > 0 && !bytes.empty(); --mutations) {
      const size_t at =
          random.Below(random.OneIn(2) ? std::min<size_t>(8, bytes.size()) : bytes.size());
      switch (random.Below(4)) {
        case 0:
          bytes[at] ^= static_cast<char>(1 << random.Below(8));
          break;
        case 1:
          bytes[at] = static_cast<char>(random());
          break;
        case 2:
          bytes.erase(at, 1);
          break;
        default:
          bytes.insert(at, 1, static_cast<char>(random.Below(3)));
      }
    }
    absl::StatusOr<Sketch> sketch = Sketch::Parse(bytes);
    if (!sketch.ok()) continue;
    ++parsed_count;
    ASSERT_EQ(ToHex(Encoded(*sketch)), ToHex(bytes));
    if (sketch->count() == 0) continue;
    for (const double q : {0.0, 0.5, 1.0}) ASSERT_TRUE(std::isfinite(sketch->Quantile(q)));
    if (sketch->count() < int64_t{1} << 62) sketch->Add(random.Fraction());
  }
  EXPECT_GT(parsed_count, 10'000) << "too tame: hardly anything parsed";
}

}  // namespace
}  // namespace weir
