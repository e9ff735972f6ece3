#include "services/collector/sender.h"

#include <gtest/gtest.h>

#include <deque>

#include "services/collector/collector_test.h"

namespace weir::collector {
namespace {

using test::kStart;
using test::TestLog;
using weir::test::SimDisk;

// A frame whose views have been copied out.
struct SentFrame {
  uint64_t lsn = 0;
  std::vector<delivery::SlotRange> ranges;
  std::deque<std::string> bytes;
};

class RecordingPort final : public SenderPort {
 public:
  void Connect() override { ++connects; }
  void Send(const delivery::FromCollector& message) override {
    if (std::holds_alternative<delivery::Hello>(message)) ++hellos;
    if (const auto* heartbeat = std::get_if<delivery::Heartbeat>(&message)) {
      heartbeats.push_back(heartbeat->time);
    }
    if (const auto* frame = std::get_if<delivery::Frame>(&message)) {
      SentFrame& sent = frames.emplace_back();
      sent.lsn = frame->lsn;
      sent.ranges = frame->ranges;
      for (delivery::SlotRange& range : sent.ranges) {
        range.subframe = sent.bytes.emplace_back(range.subframe);
      }
    }
  }
  void Disconnect(const absl::Status& why) override { disconnects.push_back(why); }
  void Committed(uint64_t lsn) override { committed.push_back(lsn); }
  void Problem(const absl::Status& what) override { problems.push_back(what); }

  int connects = 0;
  int hellos = 0;
  std::vector<absl::Time> heartbeats;
  std::deque<SentFrame> frames;  // never moved: their views stay valid
  std::vector<absl::Status> disconnects;
  std::vector<uint64_t> committed;
  std::vector<absl::Status> problems;
};

class SenderTest : public ::testing::Test {
 protected:
  Sender MakeSender() {
    return Sender({.slot_count = TestLog::kSlots, .stall_timeout = absl::Seconds(15)}, *log_.log,
                  log_.writer->slot_last(), log_.writer->trimmed_slot_last(), port_);
  }
  void WriteFrames(int count) {
    for (int i = 0; i < count; ++i) {
      log_.WriteAndSync(TestLog::GroupOf(log_.Batch({"a", "b", "c", "d", "e", "f"})));
    }
  }
  // What an aggregator that has applied and committed up to `lsn` says.
  delivery::Resume ResumeAt(uint64_t lsn, int64_t window = 1 << 20) {
    delivery::Resume resume = {.window_bytes = window};
    for (int slot = 0; slot < TestLog::kSlots; ++slot) {
      resume.slots.push_back({.slot = slot, .epoch = 1, .committed_lsn = lsn, .applied_lsn = lsn});
    }
    return resume;
  }
  delivery::Ack AckAt(uint64_t lsn) { return {.slots = ResumeAt(lsn).slots}; }
  void Greet(Sender& sender) {
    sender.OnTick(kStart);
    sender.OnConnected(kStart);
  }

  SimDisk disk_;
  TestLog log_{disk_};
  RecordingPort port_;
};

TEST_F(SenderTest, NothingIsSentBeforeTheAggregatorSaysWhereItIs) {
  WriteFrames(3);
  Sender sender = MakeSender();
  Greet(sender);
  EXPECT_EQ(port_.connects, 1);
  EXPECT_EQ(port_.hellos, 1);
  EXPECT_TRUE(port_.frames.empty());
  sender.OnMessage(ResumeAt(0), kStart);
  ASSERT_EQ(port_.frames.size(), 3u);
  EXPECT_EQ(port_.frames[0].lsn, 1u);
  EXPECT_EQ(port_.frames[2].lsn, 3u);
}

TEST_F(SenderTest, FramesThatAreNotDurableStayInTheProcess) {
  Sender sender = MakeSender();
  Greet(sender);
  sender.OnMessage(ResumeAt(0), kStart);
  ASSERT_TRUE(log_.writer->Write(TestLog::GroupOf(log_.Batch({"a"})), kStart).ok());
  sender.OnTick(kStart + absl::Seconds(1));
  EXPECT_TRUE(port_.frames.empty());
  ASSERT_TRUE(log_.log->Sync().ok());
  sender.OnDurable(log_.writer->slot_last(), kStart);
  EXPECT_EQ(port_.frames.size(), 1u);
}

TEST_F(SenderTest, AResumeSendsDefinitionsOfWhatTheAggregatorHasAgain) {
  WriteFrames(3);
  Sender sender = MakeSender();
  Greet(sender);
  sender.OnMessage(ResumeAt(2), kStart);
  ASSERT_EQ(port_.frames.size(), 3u);
  ASSERT_FALSE(port_.frames[0].ranges.empty());
  for (const delivery::SlotRange& range : port_.frames[0].ranges) {
    EXPECT_TRUE(range.definitions_only);
    frame::SubframeView view;
    ASSERT_TRUE(frame::ParseSubframe(range.subframe, &view).ok());
    EXPECT_FALSE(view.definitions.empty());
    EXPECT_TRUE(view.blocks.empty());
  }
  EXPECT_TRUE(port_.frames[1].ranges.empty());  // defined nothing
  ASSERT_FALSE(port_.frames[2].ranges.empty());
  EXPECT_FALSE(port_.frames[2].ranges[0].definitions_only);
}

TEST_F(SenderTest, TheWindowBoundsWhatIsUnacknowledgedAndAcksOpenIt) {
  WriteFrames(50);
  Sender sender = MakeSender();
  Greet(sender);
  sender.OnMessage(ResumeAt(0, /*window=*/1), kStart);
  EXPECT_EQ(port_.frames.size(), 1u);
  for (uint64_t lsn = 1; lsn < 50; ++lsn) {
    sender.OnMessage(AckAt(lsn), kStart);
    EXPECT_EQ(port_.frames.size(), lsn + 1);
  }
  sender.OnMessage(AckAt(50), kStart);
  EXPECT_EQ(sender.committed_lsn(), 50u);
  ASSERT_FALSE(port_.committed.empty());
  EXPECT_EQ(port_.committed.back(), 50u);
}

TEST_F(SenderTest, AStreamWithoutProgressIsGivenUpAndHeartbeatsAreNoProgress) {
  WriteFrames(1);
  Sender sender = MakeSender();
  Greet(sender);
  sender.OnMessage(ResumeAt(0), kStart);
  for (int i = 1; i <= 15; ++i) sender.OnTick(kStart + absl::Seconds(i));
  EXPECT_TRUE(port_.disconnects.empty());
  EXPECT_GT(port_.heartbeats.size(), 10u);
  sender.OnTick(kStart + absl::Seconds(16));
  EXPECT_EQ(port_.disconnects.size(), 1u);
}

TEST_F(SenderTest, AHeartbeatPromisesCompletenessOnlyWhenCaughtUp) {
  WriteFrames(2);
  Sender sender = MakeSender();
  Greet(sender);
  sender.OnMessage(ResumeAt(0, /*window=*/1), kStart);
  sender.OnTick(kStart + absl::Seconds(1));
  ASSERT_FALSE(port_.heartbeats.empty());
  EXPECT_EQ(port_.heartbeats.back(), absl::InfinitePast());
  sender.OnMessage(AckAt(1), kStart);
  sender.OnMessage(AckAt(2), kStart);
  sender.OnTick(kStart + absl::Seconds(2));
  EXPECT_EQ(port_.heartbeats.back(), kStart + absl::Seconds(2));
}

TEST_F(SenderTest, AStoreThatCameBackOlderIsFilledAgain) {
  WriteFrames(4);
  Sender sender = MakeSender();
  Greet(sender);
  sender.OnMessage(ResumeAt(4), kStart);
  EXPECT_EQ(sender.committed_lsn(), 4u);
  sender.OnClosed(absl::UnavailableError("gone"), kStart);
  port_.frames.clear();
  sender.OnTick(kStart + absl::Seconds(10));
  sender.OnConnected(kStart);
  sender.OnMessage(ResumeAt(2), kStart);
  EXPECT_EQ(sender.counts().rollbacks, TestLog::kSlots);
  EXPECT_EQ(sender.committed_lsn(), 2u);
  ASSERT_EQ(port_.frames.size(), 4u);
  EXPECT_FALSE(port_.frames[2].ranges[0].definitions_only);
}

TEST_F(SenderTest, AStoreOlderThanTheTrimPointIsAProblemAndNothingIsSent) {
  WriteFrames(300);
  const auto trimmed = log_.writer->Trim(300, kStart);
  ASSERT_TRUE(trimmed.ok() && *trimmed);
  Sender sender = MakeSender();
  Greet(sender);
  sender.OnMessage(ResumeAt(0), kStart);
  ASSERT_EQ(port_.problems.size(), 1u);
  EXPECT_TRUE(absl::IsDataLoss(port_.problems[0]));
  EXPECT_TRUE(port_.frames.empty());
}

TEST_F(SenderTest, ALogOlderThanTheStoreIsAProblem) {
  WriteFrames(1);
  Sender sender = MakeSender();
  Greet(sender);
  sender.OnMessage(ResumeAt(7), kStart);
  EXPECT_EQ(port_.problems.size(), 1u);
  EXPECT_TRUE(port_.frames.empty());
}

TEST_F(SenderTest, PositionsOfAnEarlierEpochAreIgnored) {
  WriteFrames(2);
  Sender sender = MakeSender();
  Greet(sender);
  delivery::Resume resume = ResumeAt(0);
  for (auto& slot : resume.slots) slot.epoch = 5;
  sender.OnMessage(resume, kStart);
  sender.OnMessage(AckAt(2), kStart);  // epoch 1
  EXPECT_EQ(sender.committed_lsn(), 0u);
}

TEST_F(SenderTest, ReconnectsBackOff) {
  Sender sender = MakeSender();
  absl::Time now = kStart;
  for (int i = 0; i < 1000; ++i) {
    const int before = port_.connects;
    sender.OnTick(now);
    if (port_.connects > before) sender.OnClosed(absl::UnavailableError("refused"), now);
    now += absl::Milliseconds(100);
  }
  EXPECT_GT(port_.connects, 40);
  EXPECT_LT(port_.connects, 100);
}

}  // namespace
}  // namespace weir::collector
