#include "services/collector/log_writer.h"

#include <gtest/gtest.h>

#include <map>

#include "services/collector/collector_test.h"

namespace weir::collector {
namespace {

using test::kStart;
using test::TestLog;
using weir::test::SimDisk;

const frame::SessionId kSession = {.high = 3, .low = 4};

// Reads the whole log back, as an aggregator would, and checks that every block
// refers to what its segment has defined. Returns samples per series name.
std::map<std::string, int64_t> ReadBack(const wal::Wal& log) {
  std::map<std::string, int64_t> counts;
  auto reader = wal::WalReader::OpenAtSegmentOf(log, log.trim_lsn() + 1);
  EXPECT_TRUE(reader.ok()) << reader.status();
  std::map<uint32_t, std::string> names;
  uint64_t segment = 0;
  wal::Record record;
  while (true) {
    const auto found = (*reader)->Next(&record);
    EXPECT_TRUE(found.ok()) << found.status();
    if (!found.ok() || !*found) return counts;
    if (record.segment != segment) names.clear();
    segment = record.segment;
    const auto frame = frame::ParseFrame(record.payload);
    EXPECT_TRUE(frame.ok()) << frame.status();
    for (const frame::Range& range : frame->ranges) {
      frame::SubframeView subframe;
      EXPECT_TRUE(frame::ParseSubframe(range.subframe, &subframe).ok());
      for (const frame::Definition& definition : subframe.definitions) {
        names[definition.number] = ParseSeries(definition.series)->name;
      }
      ByteReader blocks(subframe.blocks);
      frame::Block block;
      while (!blocks.empty()) {
        EXPECT_TRUE(frame::ReadBlock(&blocks, &block).ok());
        for (const uint32_t ref : block.refs) {
          EXPECT_TRUE(names.contains(ref)) << "lsn " << record.lsn << " refers to " << ref;
          if (record.lsn > log.trim_lsn()) ++counts[names[ref]];
        }
      }
    }
  }
}

TEST(LogWriterTest, EverySegmentDefinesTheSeriesItUses) {
  SimDisk disk;
  TestLog log(disk);
  std::map<std::string, int64_t> expected;
  for (int i = 0; i < 200; ++i) {
    const std::vector<std::string> names = {"a" + std::to_string(i % 7), "b", "c"};
    for (const std::string& name : names) ++expected[name];
    log.WriteAndSync(TestLog::GroupOf(log.Batch(names)));
  }
  EXPECT_GT(log.log->oldest_segment_last_lsn(), 0u) << "several segments were wanted";
  EXPECT_EQ(ReadBack(*log.log), expected);
}

TEST(LogWriterTest, ABatchAdmittedBeforeANewSegmentIsDefinedInIt) {
  SimDisk disk;
  TestLog log(disk);
  log.WriteAndSync(TestLog::GroupOf(log.Batch({"early"})));
  // Admitted while the first segment is current, which defines it already.
  AdmittedBatch held = log.Batch({"early"});
  while (log.log->oldest_segment_last_lsn() == 0) {
    log.WriteAndSync(TestLog::GroupOf(log.Batch({"other", "another"})));
  }
  log.WriteAndSync(TestLog::GroupOf(std::move(held)));
  EXPECT_EQ(ReadBack(*log.log)["early"], 2);
}

TEST(LogWriterTest, ManyNewSeriesAreDefinedInFramesOfTheirOwn) {
  SimDisk disk;
  TestLog log(disk, 1 << 20);
  std::map<std::string, int64_t> expected;
  std::vector<std::string> names;
  for (int i = 0; i < 900; ++i) {  // over kMaxDefinitionBytes, twice
    names.push_back(std::string(2500, 'n') + std::to_string(i));
    expected[names.back()] = 1;
  }
  const uint64_t lsn = log.WriteAndSync(TestLog::GroupOf(log.Batch(names)));
  EXPECT_GT(lsn, 1u);
  EXPECT_EQ(ReadBack(*log.log), expected);
}

TEST(LogWriterTest, AGroupThatDidNotFitIsDefinedWhenItDoes) {
  SimDisk disk;
  TestLog log(disk, 4096, /*quota_bytes=*/12288);
  for (int i = 0;; ++i) {
    ASSERT_LT(i, 1000) << "the quota was never reached";
    const std::string name = "new" + std::to_string(i);
    const Group group = TestLog::GroupOf(log.Batch({name}));
    const auto refused = log.writer->Write(group, kStart);
    WEIR_CHECK_OK(log.log->Sync());
    if (refused.ok()) continue;
    ASSERT_TRUE(absl::IsResourceExhausted(refused.status())) << refused.status();
    ASSERT_TRUE(log.writer->Trim(log.log->durable_lsn(), kStart).ok());
    log.WriteAndSync(group);
    EXPECT_EQ(ReadBack(*log.log)[name], 1);
    return;
  }
}

TEST(LogWriterTest, RecoveryFindsSessionsAndTheLastLsnOfEachSlot) {
  SimDisk disk;
  std::vector<uint64_t> slot_last;
  {
    TestLog log(disk);
    log.WriteAndSync(
        TestLog::GroupOf(log.Batch({"a", "b", "c", "d", "e"}), {{.id = kSession, .sequence = 1}}));
    log.WriteAndSync(TestLog::GroupOf(log.Batch({"a"}), {{.id = kSession, .sequence = 2}}));
    // A batch whose samples were all rejected leaves its number alone.
    log.WriteAndSync(TestLog::GroupOf({}, {{.id = kSession, .sequence = 3}}));
    slot_last = log.writer->slot_last();
    disk.Crash();
  }
  TestLog log(disk);
  EXPECT_EQ(log.writer->recovered().sessions.at(kSession).sequence, 3u);
  EXPECT_EQ(log.writer->slot_last(), slot_last);
  // What is written next follows on.
  EXPECT_EQ(log.WriteAndSync(TestLog::GroupOf(log.Batch({"a"}))), 4u);
}

TEST(LogWriterTest, AGroupOfRepeatsWritesNothing) {
  SimDisk disk;
  TestLog log(disk);
  const uint64_t lsn = log.WriteAndSync(TestLog::GroupOf(log.Batch({"a"})));
  EXPECT_EQ(log.WriteAndSync(TestLog::GroupOf({})), lsn);
  EXPECT_EQ(log.log->durable_lsn(), lsn);
}

TEST(LogWriterTest, TrimmingKeepsSessionsAsOfTheTrimPoint) {
  SimDisk disk;
  uint64_t trimmed_sequence = 0;
  {
    TestLog log(disk);
    uint64_t sequence = 0;
    while (log.log->oldest_segment_last_lsn() == 0 || sequence < 300) {
      log.WriteAndSync(
          TestLog::GroupOf(log.Batch({"a", "b"}), {{.id = kSession, .sequence = ++sequence}}));
    }
    const uint64_t first_segment = log.log->oldest_segment_last_lsn();
    const auto trimmed = log.writer->Trim(first_segment, kStart);
    ASSERT_TRUE(trimmed.ok()) << trimmed.status();
    EXPECT_TRUE(*trimmed);
    EXPECT_EQ(log.log->trim_lsn(), first_segment);
    EXPECT_FALSE(*log.writer->Trim(first_segment, kStart));
    trimmed_sequence = first_segment;  // one batch a frame
  }
  const auto checkpoint = [&] {
    disk.Crash();
    TestLog log(disk);
    return *LogState::Decode(log.log->checkpoint().state, TestLog::kSlots);
  }();
  EXPECT_EQ(checkpoint.sessions.at(kSession).sequence, trimmed_sequence);
}

TEST(LogWriterTest, SealTimesRiseThoughTheClockFalls) {
  SimDisk disk;
  TestLog log(disk);
  const auto first = log.writer->Write(TestLog::GroupOf(log.Batch({"a"})), kStart);
  const auto second =
      log.writer->Write(TestLog::GroupOf(log.Batch({"a"})), kStart - absl::Hours(1));
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_GT(second->seal_time, first->seal_time);
}

TEST(LogStateTest, ASessionThatExpiredAndBeganAnewIsKnownByItsLaterNumbers) {
  LogState state(1);
  const auto mark = [&](uint64_t lsn, uint64_t sequence) {
    return state.Apply(lsn,
                       {.seal_time = kStart, .sessions = {{.id = kSession, .sequence = sequence}}});
  };
  ASSERT_TRUE(mark(1, 1000).ok());
  ASSERT_TRUE(mark(2, 1).ok());
  EXPECT_EQ(state.sessions.at(kSession).sequence, 1u);
}

TEST(LogStateTest, TheEncodingIsRefusedWhenDamagedOrOfAnotherSlotCount) {
  LogState state(2);
  state.slot_last = {3, 9};
  state.sessions[kSession] = {
      .sequence = 5, .lifetime = frame::Lifetime::kKey, .last_time = kStart};
  const std::string bytes = state.Encode();
  const auto decoded = LogState::Decode(bytes, 2);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(decoded->Encode(), bytes);
  EXPECT_EQ(LogState::Decode(bytes, 3).status().code(), absl::StatusCode::kFailedPrecondition);
  for (size_t i = 0; i < bytes.size(); ++i) {
    EXPECT_FALSE(LogState::Decode(bytes.substr(0, i), 2).ok() && i > 0) << i;
  }
  EXPECT_FALSE(LogState::Decode(bytes + "x", 2).ok());
}

}  // namespace
}  // namespace weir::collector
