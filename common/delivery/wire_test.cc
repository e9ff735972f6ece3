#include "common/delivery/wire.h"

#include <gtest/gtest.h>

#include <string>

namespace weir::delivery {
namespace {

const WalId kWal = {.high = 0x0123456789abcdef, .low = 0xfedcba9876543210};

TEST(WireTest, AGreetingSurvivesTheWire) {
  Decoder decoder;
  const auto decoded = decoder.DecodeRequest(Encode(FromCollector(
      Hello{.wal_id = kWal, .slot_count = 16, .durable_lsn = 7, .trim_lsn = 3, .collector = "c"})));
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  const auto& hello = std::get<Hello>(*decoded);
  EXPECT_EQ(hello.wal_id, kWal);
  EXPECT_EQ(hello.slot_count, 16);
  EXPECT_EQ(hello.durable_lsn, 7u);
  EXPECT_EQ(hello.trim_lsn, 3u);
  EXPECT_EQ(hello.collector, "c");
}

TEST(WireTest, AFrameSurvivesTheWire) {
  Decoder decoder;
  const std::string bytes("sub\0frame", 9);
  const auto decoded = decoder.DecodeRequest(Encode(FromCollector(Frame{
      .lsn = 9,
      .segment = 2,
      .seal_time = absl::FromUnixNanos(1'700'000'000'123'456'789),
      .ranges = {{.slot = 1, .previous_lsn = 8, .subframe = bytes},
                 {.slot = 5, .previous_lsn = 0, .subframe = "d", .definitions_only = true}}})));
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  const auto& frame = std::get<Frame>(*decoded);
  EXPECT_EQ(frame.lsn, 9u);
  EXPECT_EQ(frame.segment, 2u);
  EXPECT_EQ(absl::ToUnixNanos(frame.seal_time), 1'700'000'000'123'456'789);
  ASSERT_EQ(frame.ranges.size(), 2u);
  EXPECT_EQ(frame.ranges[0].slot, 1);
  EXPECT_EQ(frame.ranges[0].previous_lsn, 8u);
  EXPECT_EQ(frame.ranges[0].subframe, bytes);
  EXPECT_FALSE(frame.ranges[0].definitions_only);
  EXPECT_TRUE(frame.ranges[1].definitions_only);
}

TEST(WireTest, AHeartbeatWhileCatchingUpCarriesNoTime) {
  Decoder decoder;
  const auto catching_up = decoder.DecodeRequest(Encode(FromCollector(Heartbeat{})));
  ASSERT_TRUE(catching_up.ok());
  EXPECT_EQ(std::get<Heartbeat>(*catching_up).time, absl::InfinitePast());
  const absl::Time now = absl::FromUnixNanos(1'700'000'000'000'000'001);
  const auto caught_up = decoder.DecodeRequest(Encode(FromCollector(Heartbeat{.time = now})));
  ASSERT_TRUE(caught_up.ok());
  EXPECT_EQ(std::get<Heartbeat>(*caught_up).time, now);
}

TEST(WireTest, PositionsSurviveTheWire) {
  Decoder decoder;
  const std::vector<SlotPosition> slots = {
      {.slot = 0, .epoch = 3, .committed_lsn = 5, .applied_lsn = 9}, {.slot = 15, .epoch = 1}};
  const auto resume = decoder.DecodeResponse(
      Encode(FromAggregator(Resume{.slots = slots, .window_bytes = 1 << 20})));
  ASSERT_TRUE(resume.ok()) << resume.status();
  EXPECT_EQ(std::get<Resume>(*resume).slots, slots);
  EXPECT_EQ(std::get<Resume>(*resume).window_bytes, 1 << 20);
  const auto ack = decoder.DecodeResponse(Encode(FromAggregator(Ack{.slots = slots})));
  ASSERT_TRUE(ack.ok()) << ack.status();
  EXPECT_EQ(std::get<Ack>(*ack).slots, slots);
}

TEST(WireTest, NonsenseIsRefusedWithItsReason) {
  Decoder decoder;
  const auto refused = [&](const FromCollector& message) {
    const auto decoded = decoder.DecodeRequest(Encode(message));
    EXPECT_FALSE(decoded.ok());
    return std::string(decoded.status().message());
  };
  EXPECT_NE(refused(Hello{.wal_id = kWal}).find("negative number"), std::string::npos);
  EXPECT_NE(refused(Frame{.lsn = 0}).find("without an lsn"), std::string::npos);
  EXPECT_NE(refused(Frame{.lsn = 2, .ranges = {{.slot = 1}, {.slot = 1}}}).find("ascend"),
            std::string::npos);
  EXPECT_NE(refused(Frame{.lsn = 2, .ranges = {{.slot = 1, .previous_lsn = 2}}}).find("previous"),
            std::string::npos);
  const grpc::Slice slice("\x07", 1);
  EXPECT_FALSE(decoder.DecodeRequest(grpc::ByteBuffer(&slice, 1)).ok());
  EXPECT_FALSE(decoder.DecodeResponse(grpc::ByteBuffer(&slice, 1)).ok());
  EXPECT_FALSE(decoder
                   .DecodeResponse(Encode(FromAggregator(
                       Ack{.slots = {{.slot = 0, .committed_lsn = 2, .applied_lsn = 1}}})))
                   .ok());
}

}  // namespace
}  // namespace weir::delivery
