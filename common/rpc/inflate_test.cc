#include "common/rpc/inflate.h"

#include <gtest/gtest.h>

#include <string>

#include "common/rpc/error.h"
#include "common/testing/gzip.h"
#include "common/testing/status_matchers.h"

namespace weir::rpc {
namespace {

using test::IsOk;
using test::StatusIs;
using weir::test::Gzip;

constexpr int64_t kMax = int64_t{64} << 20;

// What `gzip` says of itself, replaced.
std::string Claiming(std::string gzip, uint32_t size) {
  for (size_t i = 0; i < 4; ++i) gzip[gzip.size() - 4 + i] = static_cast<char>(size >> (8 * i));
  return gzip;
}

TEST(InflateTest, TextsOfEverySizeComeBack) {
  for (const size_t size : {0u, 1u, 100u, 65'536u, 3'000'000u}) {
    std::string text(size, 'x');
    for (size_t i = 0; i < size; i += 7) text[i] = static_cast<char>(i * i);
    const std::string gzip = Gzip(text);
    EXPECT_TRUE(LooksLikeGzip(gzip));
    EXPECT_EQ(InflatedSize(gzip), static_cast<int64_t>(size));
    std::string out = "before";
    ASSERT_THAT(InflateGzip(gzip, kMax, &out), IsOk());
    EXPECT_EQ(out, text);
  }
}

TEST(InflateTest, AByteAtATimeMakesNoDifference) {
  const std::string text(10'000, 'y');
  const std::string gzip = Gzip(text);
  Inflater inflater;
  std::string out(text.size() + 1, '\0');
  size_t written = 0;
  for (const char& byte : gzip) {
    std::string_view input(&byte, 1);
    written += inflater.Inflate(&input, out.data() + written, out.size() - written);
    EXPECT_TRUE(input.empty());
  }
  EXPECT_TRUE(inflater.ended());
  EXPECT_EQ(out.substr(0, written), text);
}

TEST(InflateTest, ABombIsRefusedByWhatItSays) {
  std::string out;
  const absl::Status refused = InflateGzip(Gzip(std::string(1'000'001, 'z')), 1'000'000, &out);
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_EQ(ReasonOf(refused), v1::MESSAGE_TOO_LARGE);
  EXPECT_TRUE(out.empty());
  EXPECT_THAT(InflateGzip(Gzip(std::string(1'000'000, 'z')), 1'000'000, &out), IsOk());
}

TEST(InflateTest, ABombThatSaysLessIsGivenUpThere) {
  std::string out;
  const std::string bomb = Claiming(Gzip(std::string(50'000'000, 'z')), 10);
  const absl::Status refused = InflateGzip(bomb, kMax, &out);
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_EQ(ReasonOf(refused), v1::UNDECODABLE);
  EXPECT_LT(out.capacity(), 1000u);
}

TEST(InflateTest, NothingIsBelievedBeyondWhatDeflateCanDo) {
  const std::string gzip = Claiming(Gzip("small"), 60'000'000);
  EXPECT_LE(InflatedSize(gzip), 1032 * static_cast<int64_t>(gzip.size()));
  std::string out;
  EXPECT_THAT(InflateGzip(gzip, kMax, &out), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(InflateTest, WhatIsCutDamagedOrFollowedByMoreIsRefused) {
  const std::string gzip = Gzip(std::string(5000, 'a') + "and something else");
  std::string out;
  for (size_t size = 0; size < gzip.size(); ++size) {
    EXPECT_THAT(InflateGzip(gzip.substr(0, size), kMax, &out),
                StatusIs(absl::StatusCode::kInvalidArgument));
  }
  std::string damaged = gzip;
  damaged[gzip.size() / 2] ^= 0x55;
  EXPECT_THAT(InflateGzip(damaged, kMax, &out), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(InflateGzip(gzip + gzip, kMax, &out), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(InflateGzip("", kMax, &out), StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace weir::rpc
