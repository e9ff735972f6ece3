#include "common/frame/frame.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cctype>
#include <cstdio>
#include <fstream>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "common/base/bytes.h"
#include "common/base/random.h"
#include "common/model/series.h"
#include "common/testing/test_seed.h"

namespace weir::frame {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// The frame docs/formats/frame.md takes apart: a session's batch that touched
// two slots, three latencies in one and two token counts in the other. Parts
// point into it.
class Example {
 public:
  Example() {
    AppendSeries({.tenant = "acme",
                  .name = "ttft",
                  .kind = Kind::kDistribution,
                  .labels = {{"model", "gpt-5"}}},
                 &latency_);
    AppendSeries({.tenant = "acme", .name = "tokens", .kind = Kind::kCounter}, &tokens_);
    Block block;
    block.type = ValueType::kFloat;
    for (const auto& [milliseconds, value] : {std::pair(250, 0.5), {0, 0.25}, {500, 1.75}}) {
      block.refs.push_back(0);
      block.times.push_back(kSealNanos - 1'000'000'000 + milliseconds * 1'000'000);
      block.bits.push_back(std::bit_cast<uint64_t>(value));
    }
    AppendBlock(block, &latency_block_);
    block.Clear();
    block.type = ValueType::kInteger;
    for (const int64_t value : {1500, -3}) {
      block.refs.push_back(1);
      block.times.push_back(kSealNanos - 2'000'000'000);
      block.bits.push_back(static_cast<uint64_t>(value));
    }
    AppendBlock(block, &tokens_block_);
  }

  std::vector<SessionMark> sessions() const {
    return {{.id = {.high = 0x0011223344556677, .low = 0x8899aabbccddeeff},
             .sequence = 300,
             .lifetime = Lifetime::kSession}};
  }

  std::vector<SubframeParts> parts() const {
    return {{.slot = 3,
             .previous_lsn = 41,
             .sample_count = 3,
             .definitions = {{.number = 0, .series = latency_}},
             .blocks = {latency_block_}},
            {.slot = 9,
             .previous_lsn = 0,
             .sample_count = 2,
             .definitions = {{.number = 1, .series = tokens_}},
             .blocks = {tokens_block_}}};
  }

  std::string frame() const {
    std::string bytes;
    AppendFrame(absl::FromUnixNanos(kSealNanos), sessions(), parts(), &bytes);
    return bytes;
  }

  // The first slot's latencies came as two points besides.
  std::string frame_with_points() const {
    Block block;
    block.type = ValueType::kPoint;
    block.refs = {0, 0};
    block.times = {kSealNanos - 1'000'000, kSealNanos};
    block.bits = {3, 5};
    block.points = "oneother";
    std::string points;
    AppendBlock(block, &points);
    std::vector<SubframeParts> all = parts();
    all[0].blocks.push_back(points);
    all[0].sample_count += 2;
    std::string bytes;
    AppendFrame(absl::FromUnixNanos(kSealNanos), sessions(), all, &bytes);
    return bytes;
  }

  static constexpr int64_t kSealNanos = 1'750'000'000'000'000'000;

 private:
  std::string latency_, tokens_, latency_block_, tokens_block_;
};

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

std::string ToHex(std::string_view bytes) {
  std::string hex;
  for (const char c : bytes) {
    char pair[4];
    std::snprintf(pair, sizeof pair, "%02x ", static_cast<unsigned char>(c));
    hex += pair;
  }
  return hex;
}

TEST(FrameTest, VersionTwoIsWrittenAsTheGoldenFileHasIt) {
  EXPECT_EQ(ToHex(Example().frame_with_points()), ToHex(ReadHexFile("tests/golden/frame_v2.hex")));
}

TEST(FrameTest, VersionTwoIsReadAsTheGoldenFileHasIt) {
  const std::string bytes = ReadHexFile("tests/golden/frame_v2.hex");
  const absl::StatusOr<FrameView> view = ParseFrame(bytes);
  ASSERT_TRUE(view.ok()) << view.status();
  SubframeView subframe;
  ASSERT_TRUE(ParseSubframe(view->ranges[0].subframe, &subframe).ok());
  ByteReader reader(subframe.blocks);
  Block block;
  ASSERT_TRUE(ReadBlock(&reader, &block).ok());
  EXPECT_EQ(block.type, ValueType::kFloat);
  ASSERT_TRUE(ReadBlock(&reader, &block).ok());
  EXPECT_TRUE(reader.empty());
  EXPECT_EQ(block.type, ValueType::kPoint);
  EXPECT_THAT(block.refs, ElementsAre(0, 0));
  EXPECT_THAT(block.times, ElementsAre(Example::kSealNanos - 1'000'000, Example::kSealNanos));
  EXPECT_THAT(block.bits, ElementsAre(3, 5));
  EXPECT_EQ(block.points, "oneother");
}

// Only the number is another: version 1 is version 2 without points.
TEST(FrameTest, VersionOneIsReadAsTheGoldenFileHasIt) {
  const std::string bytes = ReadHexFile("tests/golden/frame_v1.hex");
  EXPECT_EQ(ToHex(Example().frame().substr(1)), ToHex(bytes.substr(1)));
  const absl::StatusOr<FrameView> view = ParseFrame(bytes);
  ASSERT_TRUE(view.ok()) << view.status();
  EXPECT_EQ(absl::ToUnixNanos(view->seal_time), Example::kSealNanos);
  EXPECT_EQ(view->sessions, Example().sessions());
  ASSERT_EQ(view->ranges.size(), 2u);
  EXPECT_EQ(view->ranges[0].slot, 3);
  EXPECT_EQ(view->ranges[0].previous_lsn, 41u);
  EXPECT_EQ(view->ranges[0].sample_count, 3u);
  EXPECT_EQ(view->ranges[1].slot, 9);
  EXPECT_EQ(view->ranges[1].previous_lsn, 0u);
  EXPECT_EQ(view->ranges[1].sample_count, 2u);

  SubframeView subframe;
  ASSERT_TRUE(ParseSubframe(view->ranges[0].subframe, &subframe).ok());
  ASSERT_EQ(subframe.definitions.size(), 1u);
  EXPECT_EQ(subframe.definitions[0].number, 0u);
  EXPECT_EQ(ParseSeries(subframe.definitions[0].series)->name, "ttft");
  ByteReader reader(subframe.blocks);
  Block block;
  ASSERT_TRUE(ReadBlock(&reader, &block).ok());
  EXPECT_TRUE(reader.empty());
  EXPECT_THAT(block.times,
              ElementsAre(Example::kSealNanos - 750'000'000, Example::kSealNanos - 1'000'000'000,
                          Example::kSealNanos - 500'000'000));
  EXPECT_THAT(block.bits, ElementsAre(std::bit_cast<uint64_t>(0.5), std::bit_cast<uint64_t>(0.25),
                                      std::bit_cast<uint64_t>(1.75)));
}

TEST(FrameTest, AFrameMayCarryNothing) {
  std::string bytes;
  AppendFrame(absl::UnixEpoch(), {}, {}, &bytes);
  const absl::StatusOr<FrameView> view = ParseFrame(bytes);
  ASSERT_TRUE(view.ok()) << view.status();
  EXPECT_THAT(view->sessions, IsEmpty());
  EXPECT_THAT(view->ranges, IsEmpty());
}

TEST(FrameTest, ASlotMayDefineSeriesWithoutSamples) {
  const Example example;
  std::vector<SubframeParts> parts = example.parts();
  parts[0].blocks.clear();
  parts[0].sample_count = 0;
  std::string bytes;
  AppendFrame(absl::UnixEpoch(), {}, {parts.data(), 1}, &bytes);
  const absl::StatusOr<FrameView> view = ParseFrame(bytes);
  ASSERT_TRUE(view.ok()) << view.status();
  ASSERT_EQ(view->ranges.size(), 1u);
  EXPECT_EQ(view->ranges[0].sample_count, 0u);
  EXPECT_EQ(DefinitionsOnly(view->ranges[0].subframe).value(), view->ranges[0].subframe);
  EXPECT_THAT(DescribeFrame(bytes), HasSubstr("definitions=1 blocks=0 samples=0"));
}

TEST(FrameTest, EveryCutAndEveryExtraByteIsDataLoss) {
  const std::string bytes = Example().frame();
  for (size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_TRUE(absl::IsDataLoss(ParseFrame(bytes.substr(0, length)).status())) << length;
  }
  EXPECT_TRUE(absl::IsDataLoss(ParseFrame(bytes + '\0').status()));
}

TEST(FrameTest, ANewerVersionIsNotDamage) {
  std::string bytes = Example().frame();
  bytes[0] = 3;
  EXPECT_TRUE(absl::IsFailedPrecondition(ParseFrame(bytes).status()));
  bytes[0] = 0;
  EXPECT_TRUE(absl::IsDataLoss(ParseFrame(bytes).status()));
}

TEST(FrameTest, SlotsMustAscendAndHaveRoomForTheirSamples) {
  const auto parse = [](std::vector<std::vector<uint64_t>> slots) {
    std::string bytes;
    AppendVarint(1, &bytes);
    AppendFixed(int64_t{0}, &bytes);
    AppendVarint(0, &bytes);
    AppendVarint(slots.size(), &bytes);
    uint64_t subframe_bytes = 0;
    for (const std::vector<uint64_t>& slot : slots) {
      for (const uint64_t field : slot) AppendVarint(field, &bytes);
      subframe_bytes += slot[3];
    }
    if (subframe_bytes < 1000) bytes.append(subframe_bytes, '\0');
    return ParseFrame(bytes).status();
  };
  EXPECT_TRUE(parse({{1, 0, 1, 4}, {2, 0, 1, 4}}).ok());
  EXPECT_TRUE(absl::IsDataLoss(parse({{2, 0, 1, 4}, {1, 0, 1, 4}})));
  EXPECT_TRUE(absl::IsDataLoss(parse({{1, 0, 1, 4}, {1, 0, 1, 4}})));
  EXPECT_TRUE(absl::IsDataLoss(parse({{1, 0, 2, 4}}))) << "two samples need six bytes";
  EXPECT_TRUE(absl::IsDataLoss(parse({{uint64_t{1} << 31, 0, 1, 4}})));
  constexpr uint64_t kHuge = std::numeric_limits<uint64_t>::max();
  EXPECT_TRUE(absl::IsDataLoss(parse({{1, 0, 1, kHuge}, {2, 0, 1, 5}})));
}

TEST(FrameTest, FalseCountsAllocateNothing) {
  for (int field = 0; field < 2; ++field) {
    std::string bytes;
    AppendVarint(1, &bytes);
    AppendFixed(int64_t{0}, &bytes);
    if (field == 1) AppendVarint(0, &bytes);
    AppendVarint(uint64_t{1} << 60, &bytes);
    EXPECT_TRUE(absl::IsDataLoss(ParseFrame(bytes).status()));
  }
  std::string subframe;
  AppendVarint(uint64_t{1} << 60, &subframe);
  SubframeView view;
  EXPECT_TRUE(absl::IsDataLoss(ParseSubframe(subframe, &view)));
}

TEST(FrameTest, DefinitionsOnlyDropsTheBlocks) {
  const Example example;
  const std::string frame = example.frame();
  const std::string_view whole = ParseFrame(frame)->ranges[0].subframe;
  const std::string definitions = DefinitionsOnly(whole).value();
  EXPECT_LT(definitions.size(), whole.size());
  SubframeView view;
  ASSERT_TRUE(ParseSubframe(definitions, &view).ok());
  ASSERT_EQ(view.definitions.size(), 1u);
  EXPECT_EQ(view.definitions[0].series, example.parts()[0].definitions[0].series);
  EXPECT_THAT(view.blocks, IsEmpty());
}

TEST(FrameTest, DefinitionsOnlyIsEmptyWhenNothingIsDefined) {
  const Example example;
  std::vector<SubframeParts> parts = example.parts();
  parts[0].definitions.clear();
  std::string bytes;
  AppendFrame(absl::UnixEpoch(), {}, parts, &bytes);
  const absl::StatusOr<FrameView> view = ParseFrame(bytes);
  ASSERT_TRUE(view.ok());
  EXPECT_EQ(DefinitionsOnly(view->ranges[0].subframe).value(), "");
  EXPECT_NE(DefinitionsOnly(view->ranges[1].subframe).value(), "");
  EXPECT_TRUE(absl::IsDataLoss(DefinitionsOnly("\5").status()));
}

TEST(FrameTest, DescriptionsFitALineAndSayWhatIsWrong) {
  std::string frame = Example().frame();
  EXPECT_EQ(DescribeFrame(frame),
            "sealed 2025-06-15T15:06:40.000000Z sessions=1 slots=2"
            " | slot 3 after 41: definitions=1 blocks=1 samples=3"
            " | slot 9 after 0: definitions=1 blocks=1 samples=2");
  EXPECT_THAT(DescribeFrame(frame.substr(0, 20)), HasSubstr("not a frame"));
  frame.erase(frame.size() - 1);
  EXPECT_THAT(DescribeFrame(frame), HasSubstr("not a frame"));
}

// Reads all there is to read in `data`, as a receiver does, and checks what a
// reader may rely on. The shape of a libFuzzer target.
int ReadEverything(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  DescribeFrame(bytes);
  const absl::StatusOr<FrameView> view = ParseFrame(bytes);
  if (!view.ok()) return 0;
  SubframeView subframe;
  Block block;
  std::string again;
  int block_count = 0;
  for (const Range& range : view->ranges) {
    EXPECT_EQ(DefinitionsOnly(range.subframe).ok(), ParseSubframe(range.subframe, &subframe).ok());
    for (const Definition& definition : subframe.definitions) {
      (void)ParseSeries(definition.series).ok();
    }
    ByteReader reader(subframe.blocks);
    while (!reader.empty()) {
      if (!ReadBlock(&reader, &block).ok()) break;
      ++block_count;
      EXPECT_TRUE(block.size() >= 1 && block.size() <= kMaxBlockSamples);
      EXPECT_EQ(block.times.size(), block.size());
      EXPECT_EQ(block.bits.size(), block.size());
      if (block.type == ValueType::kPoint) {
        EXPECT_EQ(std::accumulate(block.bits.begin(), block.bits.end(), uint64_t{0}),
                  block.points.size());
      }
      again.clear();
      AppendBlock(block, &again);
    }
  }
  return block_count;
}

TEST(FrameTest, NoMutationOfAFrameDoesHarm) {
  Random random(test::TestSeed());
  std::vector<std::string> seeds = {Example().frame(), Example().frame_with_points()};
  for (const int session_count : {0, 3}) {
    Block block;
    block.type = ValueType::kInteger;
    for (int i = 0; i < 12; ++i) {
      block.refs.push_back(static_cast<uint32_t>(random() >> random.Below(32)));
      block.times.push_back(static_cast<int64_t>(random()));
      block.bits.push_back(random());
    }
    std::string bytes;
    AppendBlock(block, &bytes);
    const std::vector<SessionMark> sessions(session_count, SessionMark{.sequence = random()});
    const std::vector<SubframeParts> parts = {
        {.slot = 0, .previous_lsn = random(), .sample_count = 24, .blocks = {bytes, bytes}}};
    seeds.emplace_back();
    AppendFrame(absl::UnixEpoch(), sessions, parts, &seeds.back());
  }

  int64_t block_count = 0;
  for (int round = 0; round < 200'000; ++round) {
    std::string bytes = seeds[random.Below(seeds.size())];
    for (uint64_t mutations = 1 + random.Below(4); mutations > 0 && !bytes.empty(); --mutations) {
      const size_t at = random.Below(bytes.size());
      const size_t length = 1 + random.Below(4);
      switch (random.Below(6)) {
        case 0:
          bytes[at] ^= static_cast<char>(1 << random.Below(8));
          break;
        case 1:
          bytes[at] = static_cast<char>(random());
          break;
        case 2:
          bytes[at] = random.Below(2) == 0 ? '\xff' : '\x7f';
          break;
        case 3:
          bytes.erase(at, length);
          break;
        case 4:
          bytes.insert(at, bytes.substr(random.Below(bytes.size()), length));
          break;
        default:
          bytes.resize(at);
      }
    }
    block_count += ReadEverything(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
    if (HasFailure()) FAIL() << "round " << round << ": " << ToHex(bytes);
  }
  EXPECT_GT(block_count, 10'000) << "too tame: hardly anything got past the headers";
}

}  // namespace
}  // namespace weir::frame
