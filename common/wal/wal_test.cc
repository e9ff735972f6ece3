#include "common/wal/wal.h"

#include <cstdlib>
#include <filesystem>
#include <thread>

#include "common/base/bytes.h"
#include "common/base/crc32c.h"
#include "common/base/random.h"
#include "common/base/strings.h"
#include "common/testing/sim_disk.h"
#include "common/testing/status_matchers.h"
#include "common/wal/wal_format.h"
#include "common/wal/wal_inspect.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace weir::wal {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using ::weir::test::IsOk;
using ::weir::test::IsOkAndHolds;
using ::weir::test::SimDisk;
using ::weir::test::StatusIs;

constexpr WalId kId{.high = 0x1122334455667788, .low = 0x99aabbccddeeff00};
constexpr char kDirectory[] = "/data/wal";

Options SmallOptions() {
  return {
      .directory = kDirectory, .new_id = kId, .application_tag = "slots=16", .segment_bytes = 4096};
}

// A payload that says which record it is, of a length that varies with it.
std::string Payload(uint64_t lsn) {
  std::string payload = StrCat("record ", lsn, ":");
  Random random(lsn);
  for (uint64_t i = random.Below(200); i > 0; --i) payload += static_cast<char>(random());
  return payload;
}

class WalTest : public ::testing::Test {
 protected:
  void OpenWal(Options options = SmallOptions()) {
    wal_.reset();
    auto wal = Wal::Open(std::move(options), disk_);
    ASSERT_TRUE(wal.ok()) << wal.status();
    wal_ = *std::move(wal);
  }
  absl::Status TryOpen(Options options = SmallOptions()) {
    wal_.reset();
    auto wal = Wal::Open(std::move(options), disk_);
    if (wal.ok()) wal_ = *std::move(wal);
    return wal.status();
  }
  // Appends and syncs records until `last_lsn`, a few per sync.
  void AppendUpTo(uint64_t last_lsn) {
    while (true) {
      auto position = wal_->Prepare();
      ASSERT_TRUE(position.ok()) << position.status();
      if (position->lsn > last_lsn) break;
      const std::string payload = Payload(position->lsn);
      ASSERT_THAT(wal_->Append({payload.substr(0, 3), payload.substr(3)}), IsOk());
      if (position->lsn % 3 == 0) {
        ASSERT_THAT(wal_->Sync(), IsOk());
      }
    }
    ASSERT_THAT(wal_->Sync(), IsOk());
    ASSERT_EQ(wal_->durable_lsn(), last_lsn);
  }
  // Reads on from the segment of `lsn`, checks every payload, returns the lsns.
  std::vector<uint64_t> ReadFrom(uint64_t lsn) {
    std::vector<uint64_t> lsns;
    auto reader = WalReader::OpenAtSegmentOf(*wal_, lsn);
    EXPECT_TRUE(reader.ok()) << reader.status();
    if (!reader.ok()) return lsns;
    Record record;
    while (true) {
      auto more = (*reader)->Next(&record);
      EXPECT_TRUE(more.ok()) << more.status();
      if (!more.ok() || !*more) return lsns;
      EXPECT_EQ(record.payload, Payload(record.lsn));
      lsns.push_back(record.lsn);
    }
  }
  static std::vector<uint64_t> Range(uint64_t first, uint64_t last) {
    std::vector<uint64_t> lsns;
    for (uint64_t lsn = first; lsn <= last; ++lsn) lsns.push_back(lsn);
    return lsns;
  }
  std::vector<std::string> Segments() {
    auto names = *disk_.List(kDirectory);
    std::erase_if(names, [](const std::string& name) { return !name.ends_with(".wal"); });
    return names;
  }
  static std::string PathOf(std::string_view name) { return StrCat(kDirectory, "/", name); }
  std::string Contents(std::string_view name) {
    return *ReadWholeFile(disk_, PathOf(name), 100 << 20);
  }
  std::vector<std::string> InspectLines(absl::StatusCode expected, bool list_records = false) {
    std::vector<std::string> lines;
    EXPECT_EQ(Inspect({.directory = kDirectory, .list_records = list_records}, disk_,
                      [&](std::string_view line) { lines.emplace_back(line); })
                  .code(),
              expected);
    return lines;
  }

  SimDisk disk_;
  std::unique_ptr<Wal> wal_;
};

TEST_F(WalTest, ANewLogBeginsAtLsnOne) {
  OpenWal();
  EXPECT_TRUE(wal_->recovery().created);
  EXPECT_EQ(wal_->id(), kId);
  EXPECT_EQ(wal_->durable_lsn(), 0u);
  auto position = wal_->Prepare();
  ASSERT_THAT(position, IsOk());
  EXPECT_EQ(position->segment, 1u);
  EXPECT_EQ(position->lsn, 1u);
}

TEST_F(WalTest, RecordsSurviveReopeningAndLsnsGoOn) {
  OpenWal();
  AppendUpTo(100);
  OpenWal({.directory = kDirectory,
           .new_id = {.high = 1, .low = 2},
           .application_tag = "slots=16",
           .segment_bytes = 4096});
  EXPECT_EQ(wal_->id(), kId);
  EXPECT_FALSE(wal_->recovery().created);
  EXPECT_EQ(wal_->recovery().records, 100u);
  EXPECT_EQ(wal_->recovery().torn_bytes, 0u);
  EXPECT_EQ(wal_->durable_lsn(), 100u);
  AppendUpTo(150);
  EXPECT_EQ(ReadFrom(1), Range(1, 150));
}

TEST_F(WalTest, NothingIsReadBeforeItIsDurable) {
  OpenWal();
  ASSERT_THAT(wal_->Prepare(), IsOk());
  ASSERT_THAT(wal_->Append({Payload(1)}), IsOk());
  auto reader = WalReader::OpenAtSegmentOf(*wal_, 1);
  ASSERT_THAT(reader, IsOk());
  Record record;
  EXPECT_THAT((*reader)->Next(&record), IsOkAndHolds(false));
  ASSERT_THAT(wal_->Sync(), IsOk());
  EXPECT_THAT((*reader)->Next(&record), IsOkAndHolds(true));
  EXPECT_EQ(record.payload, Payload(1));
  EXPECT_EQ(record.segment, 1u);
  EXPECT_THAT((*reader)->Next(&record), IsOkAndHolds(false));
}

TEST_F(WalTest, AReaderStartsAtTheSegmentOfItsLsn) {
  OpenWal();
  AppendUpTo(100);
  ASSERT_GT(Segments().size(), 2u);
  const std::vector<uint64_t> lsns = ReadFrom(60);
  ASSERT_FALSE(lsns.empty());
  EXPECT_GT(lsns.front(), 1u);
  EXPECT_LE(lsns.front(), 60u);
  EXPECT_EQ(lsns, Range(lsns.front(), 100));
  // Where the next record will go.
  auto reader = WalReader::OpenAtSegmentOf(*wal_, 101);
  EXPECT_THAT(reader, IsOk());
  EXPECT_THAT(WalReader::OpenAtSegmentOf(*wal_, 0).status(),
              StatusIs(absl::StatusCode::kOutOfRange));
}

TEST_F(WalTest, AReaderFollowsAWriterInAnotherThread) {
  constexpr uint64_t kLast = 3000;
  OpenWal();
  auto reader = WalReader::OpenAtSegmentOf(*wal_, 1);
  ASSERT_THAT(reader, IsOk());
  std::thread following([&] {
    Record record;
    uint64_t next = 1;
    while (next <= kLast) {
      auto more = (*reader)->Next(&record);
      ASSERT_TRUE(more.ok()) << more.status();
      if (!*more) {
        std::this_thread::yield();
        continue;
      }
      ASSERT_EQ(record.lsn, next);
      ASSERT_EQ(record.payload, Payload(next));
      ++next;
    }
  });
  AppendUpTo(kLast);
  following.join();
}

TEST_F(WalTest, TheLargestRecordFitsAndComesBack) {
  OpenWal();
  const std::string largest(kMaxRecordBytes, 'x');
  ASSERT_THAT(wal_->Prepare(), IsOk());
  ASSERT_THAT(wal_->Append({largest}), IsOk());
  ASSERT_THAT(wal_->Sync(), IsOk());
  OpenWal();
  auto reader = WalReader::OpenAtSegmentOf(*wal_, 1);
  Record record;
  ASSERT_THAT((*reader)->Next(&record), IsOkAndHolds(true));
  EXPECT_EQ(record.payload, largest);
}

TEST_F(WalTest, OptionsOutOfRangeAreRefused) {
  const auto with = [](auto change) {
    Options options = SmallOptions();
    change(options);
    return options;
  };
  const auto invalid = StatusIs(absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(TryOpen(with([](Options& o) { o.directory.clear(); })), invalid);
  EXPECT_THAT(TryOpen(with([](Options& o) { o.new_id = {}; })), invalid);
  EXPECT_THAT(TryOpen(with([](Options& o) { o.application_tag = std::string(65, 'x'); })), invalid);
  EXPECT_THAT(TryOpen(with([](Options& o) { o.segment_bytes = 4095; })), invalid);
  EXPECT_THAT(TryOpen(with([](Options& o) { o.quota_bytes = 8191; })), invalid);
}

TEST_F(WalTest, ASecondOpenerIsRefused) {
  OpenWal();
  EXPECT_THAT(Wal::Open(SmallOptions(), disk_).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("LOCK")));
}

TEST_F(WalTest, AnotherApplicationTagIsRefused) {
  OpenWal();
  Options other = SmallOptions();
  other.application_tag = "slots=32";
  EXPECT_THAT(TryOpen(other), StatusIs(absl::StatusCode::kFailedPrecondition,
                                       AllOf(HasSubstr("slots=16"), HasSubstr("slots=32"))));
}

TEST_F(WalTest, ANewerFormatVersionIsRefusedInPlainWords) {
  OpenWal();
  wal_.reset();
  std::string bytes = Contents(Segments().front());
  bytes[8] = 2;
  disk_.Install(PathOf(Segments().front()), bytes);
  EXPECT_THAT(TryOpen(),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("format version 2")));
}

TEST_F(WalTest, CheckpointForgetsOnlyWholeSegmentsAndKeepsItsState) {
  OpenWal();
  AppendUpTo(100);
  const uint64_t trim = wal_->oldest_segment_last_lsn() + 1;
  ASSERT_THAT(wal_->Checkpoint({.trim_lsn = trim, .state = "sessions"}), IsOk());
  EXPECT_EQ(wal_->trim_lsn(), trim);
  EXPECT_THAT(WalReader::OpenAtSegmentOf(*wal_, 1).status(),
              StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_EQ(ReadFrom(trim), Range(trim, 100));  // it is the first of its segment
  OpenWal();
  EXPECT_EQ(wal_->checkpoint().trim_lsn, trim);
  EXPECT_EQ(wal_->checkpoint().state, "sessions");
  EXPECT_EQ(wal_->recovery().records, 100 - trim);
  EXPECT_EQ(ReadFrom(trim + 1), Range(trim, 100));
}

TEST_F(WalTest, ALogThatIsTrimmedEmptyNeverReusesAnLsn) {
  OpenWal();
  AppendUpTo(100);
  for (int round = 0; round < 5; ++round) {
    ASSERT_THAT(wal_->Checkpoint({.trim_lsn = 100}), IsOk());
    OpenWal();
    EXPECT_EQ(wal_->recovery().records, 0u);
    EXPECT_EQ(wal_->durable_lsn(), 100u);
    EXPECT_EQ(wal_->Prepare()->lsn, 101u);
    EXPECT_THAT(Segments(), SizeIs(1));  // reopening leaves no trail of empty ones
    EXPECT_EQ(wal_->bytes(), kSegmentHeaderBytes);
  }
  AppendUpTo(110);
  EXPECT_EQ(ReadFrom(101), Range(101, 110));
}

TEST_F(WalTest, BytesAreThoseOfTheFiles) {
  OpenWal();
  AppendUpTo(100);
  const auto on_disk = [&] {
    uint64_t bytes = 0;
    for (const std::string& name : Segments()) bytes += *disk_.FileSize(PathOf(name));
    return bytes;
  };
  EXPECT_EQ(wal_->bytes(), on_disk());
  ASSERT_THAT(wal_->Checkpoint({.trim_lsn = 50}), IsOk());
  EXPECT_EQ(wal_->bytes(), on_disk());
  OpenWal();
  EXPECT_EQ(wal_->bytes(), on_disk());
}

TEST_F(WalTest, TheQuotaRefusesAndTrimmingMakesRoom) {
  Options options = SmallOptions();
  options.quota_bytes = 4 * 4096;
  OpenWal(options);
  const std::string payload(500, 'x');
  uint64_t appended = 0;
  absl::Status status;
  while (status.ok()) {
    ASSERT_THAT(wal_->Prepare(), IsOk());
    status = wal_->Append({payload});
    if (status.ok()) ++appended;
  }
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_GT(appended, 20u);
  EXPECT_LE(wal_->bytes(), options.quota_bytes);
  ASSERT_THAT(wal_->Sync(), IsOk());
  EXPECT_EQ(wal_->durable_lsn(), appended);
  ASSERT_THAT(wal_->Checkpoint({.trim_lsn = appended}), IsOk());
  ASSERT_THAT(wal_->Prepare(), IsOk());
  EXPECT_THAT(wal_->Append({payload}), IsOk());
}

TEST_F(WalTest, AFailedWriteBreaksTheLogAndReopeningCutsTheTornRecord) {
  OpenWal();
  AppendUpTo(10);
  disk_.FailNth(SimDisk::Operation::kWrite, 1,
                {.kind = SimDisk::Fault::Kind::kPartial, .bytes = 20});
  ASSERT_THAT(wal_->Prepare(), IsOk());
  EXPECT_THAT(wal_->Append({Payload(11)}), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(wal_->Append({Payload(11)}), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(wal_->Prepare().status(), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(wal_->Sync(), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(wal_->Checkpoint({}), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(wal_->durable_lsn(), 10u);
  OpenWal();
  EXPECT_EQ(wal_->recovery().torn_bytes, 20u);
  EXPECT_FALSE(wal_->recovery().torn_without_marks);
  EXPECT_THAT(*disk_.List(kDirectory), Contains("00000000000000000001.wal.torn"));
  AppendUpTo(12);
  EXPECT_EQ(ReadFrom(1), Range(1, 12));
}

TEST_F(WalTest, AFailedSyncBreaksTheLogThoughALaterOneWouldSucceed) {
  OpenWal();
  ASSERT_THAT(wal_->Prepare(), IsOk());
  ASSERT_THAT(wal_->Append({Payload(1)}), IsOk());
  disk_.FailNth(SimDisk::Operation::kSync, 1, {.kind = SimDisk::Fault::Kind::kLie});
  EXPECT_THAT(wal_->Sync(), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(wal_->Sync(), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(wal_->durable_lsn(), 0u);
}

// Space that comes back lets more commits succeed, and none is lost.
TEST_F(WalTest, AFullDiskThatIsFreedGoesOnAfterReopening) {
  OpenWal();
  AppendUpTo(20);
  disk_.SetCapacity(disk_.used_bytes() + 30);
  ASSERT_THAT(wal_->Prepare(), IsOk());
  EXPECT_THAT(wal_->Append({std::string(100, 'x')}), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(TryOpen(), StatusIs(absl::StatusCode::kResourceExhausted));
  disk_.SetCapacity(0);
  OpenWal();
  AppendUpTo(22);
  OpenWal();
  EXPECT_EQ(ReadFrom(1), Range(1, 22));
}

TEST_F(WalTest, WithoutSpaceForACheckpointTheOldOneHoldsAndTheLogGoesOn) {
  OpenWal();
  AppendUpTo(20);
  ASSERT_THAT(wal_->Checkpoint({.trim_lsn = 3, .state = "old"}), IsOk());
  disk_.SetCapacity(disk_.used_bytes() + 10);
  EXPECT_THAT(wal_->Checkpoint({.trim_lsn = 9, .state = "new"}),
              StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_EQ(wal_->trim_lsn(), 3u);
  disk_.SetCapacity(0);
  AppendUpTo(25);
  OpenWal();
  EXPECT_EQ(wal_->checkpoint().state, "old");
}

TEST_F(WalTest, DamageInTheMiddleIsDataLossThatNamesFileAndOffset) {
  OpenWal();
  AppendUpTo(100);
  wal_.reset();
  const std::string name = Segments().front();
  std::string bytes = Contents(name);
  bytes[kSegmentHeaderBytes + kRecordHeaderBytes] ^= 1;
  disk_.Install(PathOf(name), bytes);
  EXPECT_THAT(TryOpen(), StatusIs(absl::StatusCode::kDataLoss,
                                  AllOf(HasSubstr(name), HasSubstr("offset 128"))));
  EXPECT_THAT(InspectLines(absl::StatusCode::kDataLoss),
              Contains(HasSubstr("1 records lost, the next intact one is lsn 2")));
}

TEST_F(WalTest, DamageInTheLastSegmentIsToldFromATornTail) {
  Options options = SmallOptions();
  options.segment_bytes = 1 << 20;
  OpenWal(options);
  AppendUpTo(30);
  wal_.reset();
  const std::string name = Segments().front();
  std::string bytes = Contents(name);
  bytes[bytes.size() / 2] ^= 1;
  disk_.Install(PathOf(name), bytes);
  EXPECT_THAT(TryOpen(options),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("is known to have been durable")));
}

TEST_F(WalTest, UnprovenDamageAtTheEndIsCutAndFlagged) {
  OpenWal();
  AppendUpTo(10);
  wal_.reset();
  const std::string name = Segments().front();
  std::string bytes = Contents(name);
  bytes[bytes.size() - 12] ^= 1;
  disk_.Install(PathOf(name), bytes);
  OpenWal();
  EXPECT_EQ(wal_->durable_lsn(), 9u);
  EXPECT_TRUE(wal_->recovery().torn_without_marks);
}

TEST_F(WalTest, AMissingASwappedAndACopiedSegmentAreNoticed) {
  OpenWal();
  AppendUpTo(100);
  wal_.reset();
  const std::vector<std::string> names = Segments();
  ASSERT_GT(names.size(), 3u);
  std::map<std::string, std::string> intact;
  for (const std::string& name : names) intact[name] = Contents(name);
  const auto restore = [&] {
    for (const auto& [name, contents] : intact) disk_.Install(PathOf(name), contents);
  };
  const auto data_loss = StatusIs(absl::StatusCode::kDataLoss);

  ASSERT_THAT(disk_.Unlink(PathOf(names[1])), IsOk());
  EXPECT_THAT(TryOpen(), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("is missing")));
  restore();
  ASSERT_THAT(disk_.Unlink(PathOf(names[0])), IsOk());
  EXPECT_THAT(TryOpen(), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("is missing")));
  restore();
  disk_.Install(PathOf(names[1]), intact[names[2]]);
  EXPECT_THAT(TryOpen(), data_loss);
  restore();
  disk_.Install(PathOf(SegmentName(names.size() + 1)), intact[names[0]]);
  EXPECT_THAT(TryOpen(), data_loss);
  ASSERT_THAT(disk_.Unlink(PathOf(SegmentName(names.size() + 1))), IsOk());
  EXPECT_THAT(TryOpen(), IsOk());
}

TEST_F(WalTest, ALostNewestSegmentIsNoticedByTheCheckpoint) {
  OpenWal();
  AppendUpTo(100);
  ASSERT_THAT(wal_->Checkpoint({.trim_lsn = 1}), IsOk());
  wal_.reset();
  ASSERT_THAT(disk_.Unlink(PathOf(Segments().back())), IsOk());
  EXPECT_THAT(TryOpen(), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("newest segment")));
}

TEST_F(WalTest, ACheckpointWithoutSegmentsRefusesToStartOver) {
  OpenWal();
  AppendUpTo(3);
  ASSERT_THAT(wal_->Checkpoint({.trim_lsn = 3}), IsOk());
  wal_.reset();
  for (const std::string& name : Segments()) ASSERT_THAT(disk_.Unlink(PathOf(name)), IsOk());
  EXPECT_THAT(TryOpen(), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("every segment")));
}

TEST_F(WalTest, ADamagedCheckpointIsDataLoss) {
  OpenWal();
  AppendUpTo(3);
  ASSERT_THAT(wal_->Checkpoint({.trim_lsn = 3, .state = "abc"}), IsOk());
  wal_.reset();
  const std::string intact = Contents("CHECKPOINT");
  for (size_t i = 0; i < intact.size(); ++i) {
    std::string bytes = intact;
    bytes[i] ^= 0x20;
    disk_.Install(PathOf("CHECKPOINT"), bytes);
    EXPECT_FALSE(TryOpen().ok()) << i;
    disk_.Install(PathOf("CHECKPOINT"), intact.substr(0, i));
    EXPECT_FALSE(TryOpen().ok()) << i;
  }
  disk_.Install(PathOf("CHECKPOINT"), intact);
  EXPECT_THAT(TryOpen(), IsOk());
}

TEST_F(WalTest, AnImpossibleLengthIsNotBelieved) {
  OpenWal();
  AppendUpTo(1);
  wal_.reset();
  std::string bytes = Contents(Segments().front());
  StoreFixed(uint32_t{0xffffffff}, bytes.data() + kSegmentHeaderBytes + 8);
  disk_.Install(PathOf(Segments().front()), bytes);
  OpenWal();  // nothing proves that it was durable: cut
  EXPECT_EQ(wal_->durable_lsn(), 0u);
}

TEST_F(WalTest, DamageUnderAReaderIsDataLossAndARemovedSegmentIsNotFound) {
  OpenWal();
  AppendUpTo(100);
  auto reader = WalReader::OpenAtSegmentOf(*wal_, 1);
  Record record;
  ASSERT_THAT((*reader)->Next(&record), IsOkAndHolds(true));
  ASSERT_THAT(wal_->Checkpoint({.trim_lsn = 90}), IsOk());
  absl::Status status;
  while (status.ok()) status = (*reader)->Next(&record).status();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kNotFound));

  const std::string name = Segments().front();
  std::string bytes = Contents(name);
  bytes[kSegmentHeaderBytes + 40] ^= 1;
  disk_.Install(PathOf(name), bytes);
  auto second = WalReader::OpenAtSegmentOf(*wal_, 100);
  ASSERT_THAT(second, IsOk());
  auto third = WalReader::OpenAtSegmentOf(*wal_, 91);
  ASSERT_THAT(third, IsOk());
  EXPECT_THAT((*third)->Next(&record).status(), StatusIs(absl::StatusCode::kDataLoss));
}

TEST_F(WalTest, OnlyTheNewestTornTailsAreKept) {
  OpenWal();
  for (uint64_t lsn = 1; lsn <= 10; ++lsn) {
    AppendUpTo(lsn);
    disk_.FailNth(SimDisk::Operation::kWrite, 1,
                  {.kind = SimDisk::Fault::Kind::kPartial, .bytes = 40});
    ASSERT_THAT(wal_->Prepare(), IsOk());
    ASSERT_FALSE(wal_->Append({Payload(lsn + 1)}).ok());
    OpenWal();
  }
  auto names = *disk_.List(kDirectory);
  std::erase_if(names, [](const std::string& name) { return !name.ends_with(".torn"); });
  EXPECT_THAT(names, ElementsAre("00000000000000000007.wal.torn", "00000000000000000008.wal.torn",
                                 "00000000000000000009.wal.torn", "00000000000000000010.wal.torn"));
  EXPECT_EQ(ReadFrom(1), Range(1, 10));
}

TEST_F(WalTest, InspectDescribesAHealthyLogAndAnUnfinishedOne) {
  OpenWal();
  EXPECT_THAT(InspectLines(absl::StatusCode::kOk), Contains(HasSubstr("no records")));
  AppendUpTo(40);
  ASSERT_THAT(wal_->Checkpoint({.trim_lsn = 5, .state = "xyz"}), IsOk());
  const auto lines = InspectLines(absl::StatusCode::kOk, /*list_records=*/true);
  EXPECT_THAT(lines, Contains(HasSubstr("trim_lsn 5, written at durable_lsn 40, 3 bytes")));
  EXPECT_THAT(lines, Contains(HasSubstr("records up to lsn 40")));
  EXPECT_THAT(lines, Contains(HasSubstr("  lsn 40 at offset")));
  disk_.FailNth(SimDisk::Operation::kWrite, 1,
                {.kind = SimDisk::Fault::Kind::kPartial, .bytes = 33});
  ASSERT_THAT(wal_->Prepare(), IsOk());
  ASSERT_FALSE(wal_->Append({Payload(41)}).ok());
  EXPECT_THAT(InspectLines(absl::StatusCode::kOk), Contains(HasSubstr("33 bytes that opening")));
}

TEST_F(WalTest, ADirectoryWithoutALogIsNotADamagedOne) {
  ASSERT_THAT(disk_.CreateDirectory("/empty"), IsOk());
  EXPECT_THAT(Inspect({.directory = "/empty"}, disk_, [](std::string_view) {}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("holds no log")));
}

TEST_F(WalTest, InspectNamesWhatIsMissing) {
  OpenWal();
  AppendUpTo(100);
  wal_.reset();
  ASSERT_THAT(disk_.Unlink(PathOf(Segments()[1])), IsOk());
  EXPECT_THAT(InspectLines(absl::StatusCode::kDataLoss),
              Contains(HasSubstr("are missing before it")));
  EXPECT_THAT(Inspect({.directory = "/nowhere"}, disk_, [](std::string_view) {}),
              StatusIs(absl::StatusCode::kNotFound));
}

TEST(WalOnDiskTest, ALogOnTheMachinesDiskIsWrittenReopenedAndTrimmed) {
  std::string root = ::testing::TempDir() + "weir_wal_XXXXXX";
  ASSERT_NE(mkdtemp(root.data()), nullptr);
  Options options = SmallOptions();
  options.directory = root + "/deep/wal";
  for (uint64_t round = 0; round < 3; ++round) {
    auto wal = Wal::Open(options, PosixFileSystem());
    ASSERT_THAT(wal, IsOk());
    EXPECT_EQ((*wal)->durable_lsn(), round * 50);
    for (uint64_t i = 0; i < 50; ++i) {
      auto position = (*wal)->Prepare();
      ASSERT_THAT(position, IsOk());
      ASSERT_THAT((*wal)->Append({Payload(position->lsn)}), IsOk());
    }
    ASSERT_THAT((*wal)->Sync(), IsOk());
    ASSERT_THAT((*wal)->Checkpoint({.trim_lsn = (*wal)->oldest_segment_last_lsn()}), IsOk());
    auto reader = WalReader::OpenAtSegmentOf(**wal, (*wal)->trim_lsn() + 1);
    ASSERT_THAT(reader, IsOk());
    Record record;
    uint64_t last = 0;
    while (*(*reader)->Next(&record)) {
      EXPECT_EQ(record.payload, Payload(record.lsn));
      last = record.lsn;
    }
    EXPECT_EQ(last, (round + 1) * 50);
  }
  std::filesystem::remove_all(root);
}

TEST(WalFormatTest, SegmentNamesAreNumbersOfTwentyDigits) {
  uint64_t number = 0;
  EXPECT_EQ(SegmentName(42), "00000000000000000042.wal");
  EXPECT_TRUE(ParseSegmentName(SegmentName(UINT64_MAX), &number));
  EXPECT_EQ(number, UINT64_MAX);
  for (const char* const name :
       {"", "1.wal", "0000000000000000000a.wal", "99999999999999999999.wal",
        "00000000000000000042.wal.tmp", "+0000000000000000042.wal"}) {
    EXPECT_FALSE(ParseSegmentName(name, &number)) << name;
  }
}

}  // namespace
}  // namespace weir::wal
