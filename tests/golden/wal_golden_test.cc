// The bytes of a log do not change by accident: today's code reads the files of
// each format version, and writes the current one's byte for byte.
//
// A deliberate change is a new kFormatVersion, new files beside the old ones
// (WEIR_WRITE_GOLDEN=1 writes them), and a paragraph in docs/formats/wal.md.
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "common/base/strings.h"
#include "common/testing/sim_disk.h"
#include "common/testing/status_matchers.h"
#include "common/wal/wal.h"
#include "common/wal/wal_format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace weir::wal {
namespace {

using ::testing::ElementsAre;
using ::weir::test::IsOk;
using ::weir::test::IsOkAndHolds;
using ::weir::test::SimDisk;
using ::weir::test::StatusIs;

// CTest runs from the root of the tree.
constexpr char kSegmentFile[] = "tests/golden/wal_v1.wal";
constexpr char kCheckpointFile[] = "tests/golden/wal_v1.checkpoint";

Options GoldenOptions() {
  return {.directory = "/wal",
          .new_id = {.high = 0x0123456789abcdef, .low = 0xfedcba9876543210},
          .application_tag = "slots=16"};
}

// The log that docs/formats/wal.md shows: a record of its own group commit, then
// two in one, then a checkpoint.
void WriteGoldenLog(SimDisk& disk) {
  WEIR_ASSERT_OK_AND_ASSIGN(const auto wal, Wal::Open(GoldenOptions(), disk));
  ASSERT_THAT(wal->Prepare(), IsOk());
  ASSERT_THAT(wal->Append({"hello, ", "weir"}), IsOk());
  ASSERT_THAT(wal->Sync(), IsOk());
  ASSERT_THAT(wal->Prepare(), IsOk());
  ASSERT_THAT(wal->Append({"12345678"}), IsOk());
  ASSERT_THAT(wal->Prepare(), IsOk());
  ASSERT_THAT(wal->Append({"the third record"}), IsOk());
  ASSERT_THAT(wal->Sync(), IsOk());
  ASSERT_THAT(wal->Checkpoint({.trim_lsn = 1, .state = "sessions"}), IsOk());
}

TEST(WalGoldenTest, TodaysCodeWritesTheSameBytes) {
  SimDisk disk;
  WriteGoldenLog(disk);
  WEIR_ASSERT_OK_AND_ASSIGN(const std::string segment,
                            ReadWholeFile(disk, "/wal/" + SegmentName(1), 4096));
  WEIR_ASSERT_OK_AND_ASSIGN(const std::string checkpoint,
                            ReadWholeFile(disk, "/wal/CHECKPOINT", 4096));
  if (std::getenv("WEIR_WRITE_GOLDEN") != nullptr) {
    FileSystem& files = PosixFileSystem();
    ASSERT_THAT(WriteFileAtomically(files, "tests/golden", "wal_v1.wal", segment), IsOk());
    ASSERT_THAT(WriteFileAtomically(files, "tests/golden", "wal_v1.checkpoint", checkpoint),
                IsOk());
  }
  EXPECT_THAT(ReadWholeFile(PosixFileSystem(), kSegmentFile, 4096), IsOkAndHolds(segment));
  EXPECT_THAT(ReadWholeFile(PosixFileSystem(), kCheckpointFile, 4096), IsOkAndHolds(checkpoint));
}

TEST(WalGoldenTest, TodaysCodeReadsVersionOne) {
  SimDisk disk;
  ASSERT_THAT(disk.CreateDirectory("/wal"), IsOk());
  WEIR_ASSERT_OK_AND_ASSIGN(std::string segment,
                            ReadWholeFile(PosixFileSystem(), kSegmentFile, 4096));
  WEIR_ASSERT_OK_AND_ASSIGN(std::string checkpoint,
                            ReadWholeFile(PosixFileSystem(), kCheckpointFile, 4096));
  disk.Install("/wal/" + SegmentName(1), std::move(segment));
  disk.Install("/wal/CHECKPOINT", std::move(checkpoint));

  Options options = GoldenOptions();
  options.new_id = {.high = 1, .low = 1};  // not used: the log has one
  WEIR_ASSERT_OK_AND_ASSIGN(const auto wal, Wal::Open(options, disk));
  EXPECT_EQ(wal->id(), GoldenOptions().new_id);
  EXPECT_EQ(wal->checkpoint().trim_lsn, 1u);
  EXPECT_EQ(wal->checkpoint().state, "sessions");
  EXPECT_EQ(wal->durable_lsn(), 3u);
  EXPECT_EQ(wal->recovery().records, 2u);

  WEIR_ASSERT_OK_AND_ASSIGN(const auto reader, WalReader::OpenAtSegmentOf(*wal, 2));
  std::vector<std::string> payloads;
  Record record;
  while (true) {
    WEIR_ASSERT_OK_AND_ASSIGN(const bool more, reader->Next(&record));
    if (!more) break;
    payloads.push_back(record.payload);
  }
  EXPECT_THAT(payloads, ElementsAre("hello, weir", "12345678", "the third record"));
}

}  // namespace
}  // namespace weir::wal
