// The promises of file_system.h, on the machine's disk and on the simulated one,
// and what the simulated one does that the machine's cannot be asked to.
#include "common/base/file_system.h"

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <set>

#include "common/base/random.h"
#include "common/base/strings.h"
#include "common/testing/sim_disk.h"
#include "common/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace weir {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::weir::test::IsOk;
using ::weir::test::IsOkAndHolds;
using ::weir::test::SimDisk;
using ::weir::test::StatusIs;

enum class Binding { kPosix, kSimulated };

class FileSystemTest : public ::testing::TestWithParam<Binding> {
 protected:
  void SetUp() override {
    if (GetParam() == Binding::kSimulated) {
      files_ = &disk_;
      root_ = "/root";
      ASSERT_THAT(disk_.CreateDirectory(root_), IsOk());
    } else {
      std::string pattern = ::testing::TempDir() + "weir_files_XXXXXX";
      ASSERT_NE(mkdtemp(pattern.data()), nullptr);
      files_ = &PosixFileSystem();
      root_ = pattern;
    }
  }
  void TearDown() override {
    if (GetParam() == Binding::kPosix) std::filesystem::remove_all(root_);
  }

  std::string Path(std::string_view name) const { return StrCat(root_, "/", name); }
  void Write(std::string_view name, std::string_view contents) {
    WEIR_ASSERT_OK_AND_ASSIGN(const auto file, files_->CreateFile(Path(name)));
    ASSERT_THAT(file->Append(contents), IsOk());
    ASSERT_THAT(file->Sync(), IsOk());
    ASSERT_THAT(file->Close(), IsOk());
  }

  SimDisk disk_;
  FileSystem* files_ = nullptr;
  std::string root_;
};

TEST_P(FileSystemTest, AppendedBytesAreReadBackInOrder) {
  Write("f", "hello ");
  {
    WEIR_ASSERT_OK_AND_ASSIGN(const auto file, files_->OpenForAppend(Path("f")));
    ASSERT_THAT(file->Append("world"), IsOk());
    ASSERT_THAT(file->Append(""), IsOk());
  }
  EXPECT_THAT(ReadWholeFile(*files_, Path("f"), 100), IsOkAndHolds("hello world"));
  EXPECT_THAT(files_->FileSize(Path("f")), IsOkAndHolds(11));

  WEIR_ASSERT_OK_AND_ASSIGN(const auto file, files_->OpenForRead(Path("f")));
  std::string bytes = "old";
  ASSERT_THAT(file->Read(6, 3, &bytes), IsOk());
  EXPECT_EQ(bytes, "wor");
  ASSERT_THAT(file->Read(9, 100, &bytes), IsOk());
  EXPECT_EQ(bytes, "ld");
  ASSERT_THAT(file->Read(50, 1, &bytes), IsOk());
  EXPECT_EQ(bytes, "");
}

TEST_P(FileSystemTest, AReaderSeesWhatIsAppendedAfterItOpened) {
  Write("f", "a");
  WEIR_ASSERT_OK_AND_ASSIGN(const auto reader, files_->OpenForRead(Path("f")));
  WEIR_ASSERT_OK_AND_ASSIGN(const auto writer, files_->OpenForAppend(Path("f")));
  ASSERT_THAT(writer->Append("b"), IsOk());
  std::string bytes;
  ASSERT_THAT(reader->Read(0, 10, &bytes), IsOk());
  EXPECT_EQ(bytes, "ab");
  // Also when the name is gone.
  ASSERT_THAT(files_->Unlink(Path("f")), IsOk());
  ASSERT_THAT(reader->Read(0, 10, &bytes), IsOk());
  EXPECT_EQ(bytes, "ab");
}

TEST_P(FileSystemTest, MissingAndExistingNamesHaveTheirOwnErrors) {
  Write("f", "x");
  EXPECT_THAT(files_->CreateFile(Path("f")).status(), StatusIs(absl::StatusCode::kAlreadyExists));
  EXPECT_THAT(files_->OpenForAppend(Path("g")).status(),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr(Path("g"))));
  EXPECT_THAT(files_->OpenForRead(Path("g")).status(), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(files_->FileSize(Path("g")).status(), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(files_->List(Path("g")).status(), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(files_->Unlink(Path("g")), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(files_->Truncate(Path("g"), 0), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(files_->SyncFile(Path("g")), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(files_->SyncDirectory(Path("g")), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(files_->CreateDirectory(Path("f")), StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_FALSE(files_->Exists(Path("g")));
}

TEST_P(FileSystemTest, RenameReplacesUnlinkRemovesListIsSorted) {
  Write("b", "new");
  Write("a", "old");
  ASSERT_THAT(files_->CreateDirectory(Path("d")), IsOk());
  EXPECT_THAT(files_->List(root_), IsOkAndHolds(ElementsAre("a", "b", "d")));
  ASSERT_THAT(files_->Rename(Path("b"), Path("a")), IsOk());
  EXPECT_THAT(ReadWholeFile(*files_, Path("a"), 10), IsOkAndHolds("new"));
  EXPECT_THAT(files_->List(root_), IsOkAndHolds(ElementsAre("a", "d")));
  ASSERT_THAT(files_->SyncDirectory(root_), IsOk());
  ASSERT_THAT(files_->Unlink(Path("a")), IsOk());
  EXPECT_THAT(files_->List(root_), IsOkAndHolds(ElementsAre("d")));
}

TEST_P(FileSystemTest, TruncateCutsAndRewriteChangesNothing) {
  const std::string contents(3 << 20, 'x');  // more than one chunk of a rewrite
  Write("f", contents);
  ASSERT_THAT(files_->RewriteFile(Path("f")), IsOk());
  EXPECT_THAT(ReadWholeFile(*files_, Path("f"), 4 << 20), IsOkAndHolds(contents));
  ASSERT_THAT(files_->Truncate(Path("f"), 5), IsOk());
  ASSERT_THAT(files_->SyncFile(Path("f")), IsOk());
  EXPECT_THAT(ReadWholeFile(*files_, Path("f"), 5), IsOkAndHolds("xxxxx"));
  EXPECT_THAT(ReadWholeFile(*files_, Path("f"), 4).status(),
              StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST_P(FileSystemTest, ALockExcludesASecondHolderUntilItIsReleased) {
  WEIR_ASSERT_OK_AND_ASSIGN(auto lock, files_->Lock(Path("LOCK")));
  EXPECT_THAT(files_->Lock(Path("LOCK")).status(), StatusIs(absl::StatusCode::kFailedPrecondition));
  lock.reset();
  EXPECT_THAT(files_->Lock(Path("LOCK")), IsOk());
}

TEST_P(FileSystemTest, DirectoriesAreCreatedWithTheirParents) {
  ASSERT_THAT(CreateDirectoriesDurably(*files_, Path("x/y/z")), IsOk());
  ASSERT_THAT(CreateDirectoriesDurably(*files_, Path("x/y/z/")), IsOk());
  EXPECT_THAT(files_->List(Path("x/y")), IsOkAndHolds(ElementsAre("z")));
}

TEST_P(FileSystemTest, AnAtomicWriteReplacesAndLeavesNoTemporaryFile) {
  ASSERT_THAT(WriteFileAtomically(*files_, root_, "f", "one"), IsOk());
  Write("f.tmp", "left behind by a process that died");
  ASSERT_THAT(WriteFileAtomically(*files_, root_, "f", "two"), IsOk());
  EXPECT_THAT(ReadWholeFile(*files_, Path("f"), 10), IsOkAndHolds("two"));
  EXPECT_THAT(files_->List(root_), IsOkAndHolds(ElementsAre("f")));
}

INSTANTIATE_TEST_SUITE_P(Bindings, FileSystemTest,
                         ::testing::Values(Binding::kPosix, Binding::kSimulated),
                         [](const auto& tested) {
                           return tested.param == Binding::kPosix ? "Posix" : "Simulated";
                         });

TEST(SimDiskTest, AProcessCrashKeepsWhatWasWrittenAndEndsItsFilesAndLocks) {
  SimDisk disk;
  auto lock = disk.Lock("/LOCK");
  auto file = disk.CreateFile("/f");
  ASSERT_THAT((*file)->Append("written"), IsOk());
  disk.Crash();
  EXPECT_THAT((*file)->Append("x"), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT((*file)->Sync(), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(ReadWholeFile(disk, "/f", 10), IsOkAndHolds("written"));
  auto second = disk.Lock("/LOCK");
  EXPECT_THAT(second, IsOk());
  lock->reset();  // the dead process' lock must not release the living one's
  EXPECT_THAT(disk.Lock("/LOCK").status(), StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST(SimDiskTest, PowerLossNeverTouchesWhatIsSynced) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    SimDisk disk;
    auto file = disk.CreateFile("/f");
    ASSERT_THAT(disk.SyncDirectory("/"), IsOk());
    std::string synced;
    for (int i = 0; i < 4; ++i) {
      const std::string bytes(random.Between(1, 2000), static_cast<char>('a' + i));
      ASSERT_THAT((*file)->Append(bytes), IsOk());
      synced += bytes;
    }
    ASSERT_THAT((*file)->Sync(), IsOk());
    ASSERT_THAT((*file)->Append(std::string(5000, 'z')), IsOk());
    disk.PowerLoss(random);
    auto contents = ReadWholeFile(disk, "/f", 1 << 20);
    ASSERT_THAT(contents, IsOk());
    EXPECT_LE(contents->size(), synced.size() + 5000);
    EXPECT_TRUE(contents->starts_with(synced));
  }
}

TEST(SimDiskTest, PowerLossKeepsZeroesAndGarblesUnsyncedSectors) {
  SimDisk disk;
  Random random(7);
  for (int i = 0; i < 100; ++i) {
    auto file = disk.CreateFile(StrCat("/", i));
    ASSERT_THAT(disk.SyncDirectory("/"), IsOk());
    ASSERT_THAT((*file)->Append(std::string(4096, 'x')), IsOk());
    disk.PowerLoss(random);
  }
  EXPECT_GT(disk.counts().sectors_kept, 50u);
  EXPECT_GT(disk.counts().sectors_zeroed, 50u);
  EXPECT_GT(disk.counts().sectors_garbled, 50u);
}

TEST(SimDiskTest, AnUnsyncedNameMayVanishOrStayAndARenameIsAtomic) {
  std::map<std::string, int> outcomes;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    SimDisk disk;
    Random random(seed);
    disk.Install("/f", "old");
    auto file = disk.CreateFile("/f.tmp");
    ASSERT_THAT((*file)->Append("new"), IsOk());
    ASSERT_THAT((*file)->Sync(), IsOk());
    ASSERT_THAT(disk.Rename("/f.tmp", "/f"), IsOk());
    disk.PowerLoss(random);
    auto contents = ReadWholeFile(disk, "/f", 10);
    ASSERT_THAT(contents, IsOk());
    ++outcomes[*contents + (disk.Exists("/f.tmp") ? "+tmp" : "")];
  }
  // The temporary name may be kept and its renaming undone; never the reverse.
  EXPECT_THAT(outcomes,
              ::testing::UnorderedElementsAre(::testing::Key("old"), ::testing::Key("old+tmp"),
                                              ::testing::Key("new")));
}

TEST(SimDiskTest, AnAtomicWriteSurvivesPowerLossAtEveryOperation) {
  for (uint64_t seed = 0; seed < 2000; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    SimDisk disk;
    disk.Install("/f", "old");
    const auto operation = static_cast<SimDisk::Operation>(random.Below(SimDisk::kOperationCount));
    const auto kind = static_cast<SimDisk::Fault::Kind>(random.Between(1, 4));
    disk.FailNth(operation, 1, {.kind = kind, .bytes = random.Below(4)});
    const absl::Status written = WriteFileAtomically(disk, "/", "f", "newer");
    disk.PowerLoss(random);
    auto contents = ReadWholeFile(disk, "/f", 10);
    ASSERT_THAT(contents, IsOk());
    EXPECT_TRUE(*contents == "newer" || (*contents == "old" && !written.ok())) << *contents;
  }
}

TEST(SimDiskTest, ANewDirectoryWhoseParentIsNotSyncedMayVanish) {
  int vanished = 0;
  for (uint64_t seed = 0; seed < 100; ++seed) {
    SimDisk disk;
    Random random(seed);
    ASSERT_THAT(disk.CreateDirectory("/d"), IsOk());
    ASSERT_THAT(WriteFileAtomically(disk, "/d", "f", "x"), IsOk());
    disk.PowerLoss(random);
    vanished += disk.Exists("/d/f") ? 0 : 1;
  }
  EXPECT_GT(vanished, 20);
  EXPECT_LT(vanished, 80);
}

TEST(SimDiskTest, ADirectoryOfAKilledProcessIsMadeDurableByTheNext) {
  for (uint64_t seed = 0; seed < 100; ++seed) {
    SimDisk disk;
    Random random(seed);
    ASSERT_THAT(disk.CreateDirectory("/d"), IsOk());
    disk.Crash();
    ASSERT_THAT(CreateDirectoriesDurably(disk, "/d/e"), IsOk());
    disk.PowerLoss(random);
    ASSERT_TRUE(disk.Exists("/d/e"));
  }
}

TEST(SimDiskTest, AfterASyncThatLiedOnlyARewriteReachesTheDisk) {
  int lost = 0;
  for (uint64_t seed = 0; seed < 100; ++seed) {
    SCOPED_TRACE(seed);
    for (const bool rewrite : {false, true}) {
      SimDisk disk;
      Random random(seed);
      auto file = disk.CreateFile("/f");
      ASSERT_THAT(disk.SyncDirectory("/"), IsOk());
      const std::string bytes(1000, 'x');
      ASSERT_THAT((*file)->Append(bytes), IsOk());
      disk.FailNth(SimDisk::Operation::kSync, 1, {.kind = SimDisk::Fault::Kind::kLie});
      EXPECT_THAT((*file)->Sync(), StatusIs(absl::StatusCode::kUnavailable));
      disk.Crash();
      EXPECT_THAT(ReadWholeFile(disk, "/f", 1000), IsOkAndHolds(bytes));
      ASSERT_THAT(rewrite ? disk.RewriteFile("/f") : disk.SyncFile("/f"), IsOk());
      disk.PowerLoss(random);
      const bool whole = *ReadWholeFile(disk, "/f", 1000) == bytes;
      EXPECT_TRUE(whole || !rewrite);
      lost += whole ? 0 : 1;
    }
  }
  EXPECT_GT(lost, 20);
}

TEST(SimDiskTest, AnUnsyncedTruncationMayBeUndone) {
  std::set<uint64_t> sizes;
  for (uint64_t seed = 0; seed < 100; ++seed) {
    SimDisk disk;
    Random random(seed);
    disk.Install("/f", "0123456789");
    ASSERT_THAT(disk.Truncate("/f", 4), IsOk());
    disk.PowerLoss(random);
    sizes.insert(*disk.FileSize("/f"));
  }
  EXPECT_EQ(sizes, (std::set<uint64_t>{4, 10}));
}

TEST(SimDiskTest, AFullDiskTakesWhatFitsAndFreesWhatIsRemoved) {
  SimDisk disk;
  disk.SetCapacity(10);
  auto file = disk.CreateFile("/f");
  ASSERT_THAT((*file)->Append("12345678"), IsOk());
  EXPECT_THAT((*file)->Append("9abc"), StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_THAT(ReadWholeFile(disk, "/f", 20), IsOkAndHolds("123456789a"));
  ASSERT_THAT(disk.Unlink("/f"), IsOk());
  EXPECT_EQ(disk.used_bytes(), 0u);
  auto other = disk.CreateFile("/g");
  EXPECT_THAT((*other)->Append("0123456789"), IsOk());
}

TEST(SimDiskTest, TheSameSeedLeavesTheSameBytes) {
  const auto run = [](uint64_t seed) {
    SimDisk disk;
    Random random(seed);
    auto file = disk.CreateFile("/f");
    EXPECT_THAT(disk.SyncDirectory("/"), IsOk());
    EXPECT_THAT((*file)->Append(std::string(9999, 'x')), IsOk());
    disk.PowerLoss(random);
    return *ReadWholeFile(disk, "/f", 1 << 20);
  };
  for (uint64_t seed = 0; seed < 50; ++seed) EXPECT_EQ(run(seed), run(seed));
}

}  // namespace
}  // namespace weir
