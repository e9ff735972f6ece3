#include "common/rpc/snappy.h"

#include <gtest/gtest.h>
#include <snappy-c.h>

#include <string>

#include "common/rpc/error.h"
#include "common/testing/status_matchers.h"

namespace weir::rpc {
namespace {

using test::IsOk;
using test::StatusIs;

constexpr int64_t kMax = int64_t{64} << 20;

std::string Compress(std::string_view text) {
  std::string block(snappy_max_compressed_length(text.size()), '\0');
  size_t size = block.size();
  EXPECT_EQ(snappy_compress(text.data(), text.size(), block.data(), &size), SNAPPY_OK);
  block.resize(size);
  return block;
}

// A block that says it holds `size` bytes, and goes on with `rest`.
std::string Claiming(uint64_t size, std::string_view rest) {
  std::string block;
  for (; size >= 0x80; size >>= 7) block.push_back(static_cast<char>(size | 0x80));
  block.push_back(static_cast<char>(size));
  return block.append(rest);
}

TEST(SnappyTest, TextsOfEverySizeComeBack) {
  for (const size_t size : {0u, 1u, 100u, 65'536u, 3'000'000u}) {
    std::string text(size, 'x');
    for (size_t i = 0; i < size; i += 7) text[i] = static_cast<char>(i * i);
    const std::string block = Compress(text);
    const auto claimed = DecompressedSize(block, kMax);
    ASSERT_THAT(claimed.status(), IsOk());
    EXPECT_EQ(*claimed, static_cast<int64_t>(size));
    std::string out = "before";
    ASSERT_THAT(DecompressSnappy(block, kMax, &out), IsOk());
    EXPECT_EQ(out, text);
  }
}

TEST(SnappyTest, TheShortestBlockOfALengthIsTaken) {
  // A literal of one byte, then copies of 64 bytes from one byte back.
  std::string rest("\0z", 2);
  for (int i = 0; i < 10'000; ++i) rest.append("\xfe\x01\x00", 3);
  std::string out;
  ASSERT_THAT(DecompressSnappy(Claiming(640'001, rest), kMax, &out), IsOk());
  EXPECT_EQ(out, std::string(640'001, 'z'));
}

TEST(SnappyTest, ABombIsRefusedByWhatItSays) {
  std::string out;
  const absl::Status refused =
      DecompressSnappy(Compress(std::string(1'000'001, 'z')), 1'000'000, &out);
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_EQ(ReasonOf(refused), v1::MESSAGE_TOO_LARGE);
  EXPECT_THAT(DecompressSnappy(Compress(std::string(1'000'000, 'z')), 1'000'000, &out), IsOk());
}

TEST(SnappyTest, NothingIsBelievedBeyondWhatSnappyCanDo) {
  std::string out;
  for (const uint64_t claim : {uint64_t{1000}, uint64_t{60'000'000}}) {
    const absl::Status refused = DecompressSnappy(Claiming(claim, "small"), kMax, &out);
    EXPECT_THAT(refused, StatusIs(absl::StatusCode::kInvalidArgument));
    EXPECT_EQ(ReasonOf(refused), v1::UNDECODABLE);
    EXPECT_LT(out.capacity(), 1000u);
  }
  EXPECT_THAT(DecompressSnappy(Claiming(UINT32_MAX, "small"), kMax, &out),
              StatusIs(absl::StatusCode::kResourceExhausted));
  // More than the format has.
  EXPECT_THAT(DecompressSnappy(Claiming(uint64_t{1} << 40, "small"), kMax, &out),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(SnappyTest, ABombThatSaysLessIsGivenUpThere) {
  std::string bomb = Compress(std::string(50'000'000, 'z'));
  bomb = Claiming(10, std::string_view(bomb).substr(4));
  std::string out;
  EXPECT_THAT(DecompressSnappy(bomb, kMax, &out), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_LT(out.capacity(), 1000u);
}

TEST(SnappyTest, WhatIsCutDamagedOrFollowedByMoreIsRefused) {
  const std::string block = Compress(std::string(5000, 'a') + "and something else");
  std::string out;
  for (size_t size = 0; size < block.size(); ++size) {
    const absl::Status refused = DecompressSnappy(block.substr(0, size), kMax, &out);
    EXPECT_THAT(refused, StatusIs(absl::StatusCode::kInvalidArgument)) << size;
    EXPECT_EQ(ReasonOf(refused), v1::UNDECODABLE);
  }
  EXPECT_THAT(DecompressSnappy(block + "more", kMax, &out),
              StatusIs(absl::StatusCode::kInvalidArgument));
  // A copy from before the beginning.
  EXPECT_THAT(DecompressSnappy(Claiming(64, "\xfe\x01\x01"), kMax, &out),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace weir::rpc
