// The log's promises under every failure that a disk can answer with:
//
//   every record that Sync acknowledged is there afterwards, and identical;
//   no record is there that nobody appended under its lsn;
//   an lsn that was durable once never stands for other bytes;
//   a checkpoint that returned holds, and its state belongs to its trim point;
//   opening succeeds again as soon as the disk does.
//
// WEIR_TEST_SEED=n runs that one seed of the random tests.
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "common/base/mutant.h"
#include "common/base/random.h"
#include "common/base/strings.h"
#include "common/testing/sim_disk.h"
#include "common/testing/status_matchers.h"
#include "common/wal/wal.h"
#include "common/wal/wal_format.h"
#include "common/wal/wal_inspect.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace weir::wal {
namespace {

using ::testing::HasSubstr;
using ::weir::test::IsOk;
using ::weir::test::SimDisk;
using Operation = SimDisk::Operation;
using Fault = SimDisk::Fault;

constexpr char kDirectory[] = "/data/wal";

// What must be true of a log, whatever happened to its disk.
class Model {
 public:
  // `payload` was handed to Append under `lsn`; it may or may not be on the disk.
  void Attempted(uint64_t lsn, std::string payload) { attempted_[lsn] = std::move(payload); }
  // Everything up to `lsn` was acknowledged.
  void Durable(uint64_t lsn) {
    while (!attempted_.empty() && attempted_.begin()->first <= lsn) {
      durable_.insert(attempted_.extract(attempted_.begin()));
    }
    durable_lsn_ = std::max(durable_lsn_, lsn);
  }
  void Checkpointed(uint64_t trim_lsn) { trim_lsn_ = trim_lsn; }
  uint64_t durable_count() const { return durable_lsn_; }

  // Compares with what a newly opened log holds; what it holds is durable from
  // then on. Returns what is wrong, or nothing.
  std::string Check(const Wal& wal) {
    if (wal.durable_lsn() < durable_lsn_) {
      return StrCat("lost: lsn ", durable_lsn_, " was durable, the log ends at ",
                    wal.durable_lsn());
    }
    if (wal.trim_lsn() < trim_lsn_) return StrCat("the checkpoint at ", trim_lsn_, " is gone");
    if (wal.trim_lsn() > 0 && wal.checkpoint().state != State(wal.trim_lsn())) {
      return StrCat("the checkpoint at ", wal.trim_lsn(), " has the state of another");
    }
    trim_lsn_ = wal.trim_lsn();
    Durable(wal.durable_lsn());
    attempted_.clear();
    return CheckRecords(wal);
  }

  // Reads everything above the trim point and compares.
  std::string CheckRecords(const Wal& wal) const {
    uint64_t next = wal.trim_lsn() + 1;
    auto reader = WalReader::OpenAtSegmentOf(wal, next);
    if (!reader.ok()) return StrCat("no reader: ", reader.status().ToString());
    Record record;
    while (true) {
      const auto more = (*reader)->Next(&record);
      if (!more.ok()) return StrCat("unreadable: ", more.status().ToString());
      if (!*more) break;
      if (record.lsn < next) continue;  // trimmed, but its segment is not gone
      if (record.lsn != next++) return StrCat("lsn ", record.lsn, " came out of order");
      const auto known = durable_.find(record.lsn);
      if (known == durable_.end()) return StrCat("invented: lsn ", record.lsn);
      if (known->second != record.payload) return StrCat("other bytes under lsn ", record.lsn);
    }
    if (next != wal.durable_lsn() + 1) return StrCat("the reader stopped before lsn ", next);
    return {};
  }

  static std::string State(uint64_t trim_lsn) { return StrCat("state as of ", trim_lsn); }

 private:
  std::map<uint64_t, std::string> attempted_;
  std::map<uint64_t, std::string> durable_;
  uint64_t durable_lsn_ = 0;
  uint64_t trim_lsn_ = 0;
};

Options TestOptions(Mutant mutant = Mutant::kNone) {
  return {.directory = kDirectory,
          .new_id = {.high = 7, .low = 7},
          .application_tag = "test",
          .segment_bytes = 4096,
          .mutant = mutant};
}

std::string RandomPayload(Random& random) {
  // Mostly small, sometimes many sectors; zeros and random bytes alike, as a
  // zeroed sector must not pass for a payload of zeros.
  std::string payload(random.OneIn(8) ? random.Between(1, 5000) : random.Between(1, 300), '\0');
  if (!random.OneIn(4)) {
    for (char& c : payload) c = static_cast<char>(random());
  }
  return payload;
}

// One process' life with the log: random calls until one fails or it has had
// enough. Returns what is wrong, or nothing.
std::string Live(Wal& wal, Random& random, Model& model) {
  for (uint64_t step = random.Below(60); step > 0; --step) {
    const uint64_t choice = random.Below(100);
    if (choice < 60) {
      const auto position = wal.Prepare();
      model.Durable(wal.durable_lsn());
      if (!position.ok()) return {};
      std::string payload = RandomPayload(random);
      const size_t cut = random.Below(payload.size() + 1);
      const std::string_view view = payload;
      const absl::Status status = wal.Append({view.substr(0, cut), view.substr(cut)});
      model.Attempted(position->lsn, std::move(payload));
      if (!status.ok()) return {};
    } else if (choice < 90) {
      if (!wal.Sync().ok()) return {};
      model.Durable(wal.durable_lsn());
    } else if (choice < 97) {
      const uint64_t trim = random.Between(wal.trim_lsn(), wal.durable_lsn());
      if (trim == 0) continue;
      if (!wal.Checkpoint({.trim_lsn = trim, .state = Model::State(trim)}).ok()) return {};
      model.Checkpointed(trim);
    } else if (std::string wrong = model.CheckRecords(wal); !wrong.empty()) {
      return wrong;
    }
  }
  return {};
}

// What a storm went through, so that one too tame to prove anything is noticed.
struct StormTotals {
  uint64_t lives = 0;
  uint64_t durable_records = 0;
  uint64_t torn_tails = 0;
  uint64_t failed_opens = 0;
  uint64_t sync_faults = 0;
  uint64_t power_losses = 0;
  uint64_t garbled_sectors = 0;
  uint64_t undone_names = 0;
};

// Several lives of one log on one failing disk. Returns what is wrong, or nothing.
std::string Storm(uint64_t seed, Mutant mutant, StormTotals* totals) {
  Random random(seed);
  SimDisk disk;
  Model model;
  const uint64_t fault_odds = random.OneIn(3) ? 0 : random.Between(20, 400);
  Random fault_random = random.Fork();
  const SimDisk::FaultHook hook = [&](Operation, std::string_view) -> Fault {
    if (fault_odds == 0 || !fault_random.OneIn(fault_odds)) return {};
    return {.kind = static_cast<Fault::Kind>(fault_random.Between(1, 4)),
            .bytes = fault_random.Below(600)};
  };
  for (int life = 0; life < 8; ++life) {
    std::unique_ptr<Wal> wal;
    for (int attempt = 0; wal == nullptr; ++attempt) {
      // Recovery may fail, and be cut off, at any point too; but not for ever.
      if (attempt < 5) disk.SetFaultHook(hook);
      auto opened = Wal::Open(TestOptions(mutant), disk);
      if (opened.ok()) {
        wal = *std::move(opened);
        break;
      }
      if (totals != nullptr) ++totals->failed_opens;
      disk.ClearFaults();
      if (attempt >= 5 || absl::IsDataLoss(opened.status())) {
        return StrCat("stuck: ", opened.status().ToString());
      }
      random.OneIn(2) ? disk.Crash() : disk.PowerLoss(random);
    }
    disk.ClearFaults();  // checking is not part of the life
    if (std::string wrong = model.Check(*wal); !wrong.empty()) return wrong;
    if (totals != nullptr && wal->recovery().torn_bytes > 0) ++totals->torn_tails;
    disk.SetFaultHook(hook);
    if (std::string wrong = Live(*wal, random, model); !wrong.empty()) return wrong;
    disk.ClearFaults();
    random.OneIn(2) ? disk.Crash() : disk.PowerLoss(random);
    if (totals != nullptr) ++totals->lives;
  }
  if (totals != nullptr) {
    const SimDisk::Counts counts = disk.counts();
    totals->durable_records += model.durable_count();
    totals->sync_faults += counts.faults[static_cast<size_t>(Operation::kSync)];
    totals->power_losses += counts.power_losses;
    totals->garbled_sectors += counts.sectors_garbled;
    totals->undone_names += counts.names_undone;
  }
  return {};
}

TEST(WalFaultTest, NoStormLosesInventsOrChangesARecord) {
  uint64_t first_seed = 1;
  uint64_t seeds = 5000;
  if (const char* const text = std::getenv("WEIR_TEST_SEED")) {
    ASSERT_TRUE(absl::SimpleAtoi(text, &first_seed)) << text;
    seeds = 1;
  } else if (const char* const count = std::getenv("WEIR_TEST_SEEDS")) {
    ASSERT_TRUE(absl::SimpleAtoi(count, &seeds)) << count;
  }
  StormTotals totals;
  for (uint64_t seed = first_seed; seed < first_seed + seeds; ++seed) {
    ASSERT_EQ(Storm(seed, Mutant::kNone, &totals), "") << "WEIR_TEST_SEED=" << seed;
  }
  std::printf(
      "seeds=%lu lives=%lu durable_records=%lu torn_tails=%lu failed_opens=%lu "
      "sync_faults=%lu power_losses=%lu garbled_sectors=%lu undone_names=%lu\n",
      seeds, totals.lives, totals.durable_records, totals.torn_tails, totals.failed_opens,
      totals.sync_faults, totals.power_losses, totals.garbled_sectors, totals.undone_names);
  if (seeds >= 1000) {
    EXPECT_GT(totals.durable_records, 20 * seeds);
    EXPECT_GT(totals.torn_tails, seeds / 4);
    EXPECT_GT(totals.failed_opens, seeds / 20);
    EXPECT_GT(totals.sync_faults, seeds / 10);
    EXPECT_GT(totals.garbled_sectors, seeds);
    EXPECT_GT(totals.undone_names, seeds / 2);
  }
}

// A safeguard that the storm would not miss is not tested by it.
class WalMutantTest : public ::testing::TestWithParam<Mutant> {};

TEST_P(WalMutantTest, TheStormNoticesThatTheSafeguardIsGone) {
  for (uint64_t seed = 1; seed <= 5000; ++seed) {
    if (const std::string wrong = Storm(seed, GetParam(), nullptr); !wrong.empty()) {
      std::printf("seed %lu: %s\n", seed, wrong.c_str());
      return;
    }
  }
  FAIL() << "survived 5000 seeds";
}

INSTANTIATE_TEST_SUITE_P(All, WalMutantTest,
                         ::testing::Values(Mutant::kNoRecoverySync, Mutant::kIgnoreSyncError,
                                           Mutant::kNoDirectorySync, Mutant::kKeepTornTail),
                         [](const auto& tested) { return std::string(MutantName(tested.param)); });

// The same two lives every time, to put one fault at each of their operations.
void LiveTwice(SimDisk& disk, Model& model) {
  for (int life = 0; life < 2; ++life) {
    auto wal = Wal::Open(TestOptions(), disk);
    if (!wal.ok()) return;
    ASSERT_EQ(model.Check(**wal), "");
    Random random(static_cast<uint64_t>(life) + 1);
    for (int i = 0; i < 30; ++i) {
      const auto position = (*wal)->Prepare();
      model.Durable((*wal)->durable_lsn());
      if (!position.ok()) return;
      std::string payload = RandomPayload(random);
      const absl::Status status = (*wal)->Append({payload});
      model.Attempted(position->lsn, std::move(payload));
      if (!status.ok()) return;
      if (i % 3 == 0) {
        if (!(*wal)->Sync().ok()) return;
        model.Durable((*wal)->durable_lsn());
      }
      if (i % 10 == 9) {
        const uint64_t trim = (*wal)->oldest_segment_last_lsn();
        if (trim <= (*wal)->trim_lsn()) continue;
        if (!(*wal)->Checkpoint({.trim_lsn = trim, .state = Model::State(trim)}).ok()) return;
        model.Checkpointed(trim);
      }
    }
  }
}

class EveryOperationTest : public ::testing::TestWithParam<Operation> {};

TEST_P(EveryOperationTest, FailsOnceAndThePromisesHold) {
  for (const Fault::Kind kind :
       {Fault::Kind::kFail, Fault::Kind::kFailAfter, Fault::Kind::kPartial, Fault::Kind::kLie}) {
    uint64_t n = 0;
    for (bool reached = true; reached;) {
      ++n;
      // Power loss has many outcomes; a process crash has one.
      for (uint64_t seed = 0; seed < 8; ++seed) {
        SCOPED_TRACE(StrCat("fault ", static_cast<int>(kind), " at operation ", n, " seed ", seed));
        Random random(seed);
        SimDisk disk;
        Model model;
        disk.FailNth(GetParam(), n, {.kind = kind, .bytes = 100 * seed});
        LiveTwice(disk, model);
        reached = disk.counts().faults[static_cast<size_t>(GetParam())] > 0;
        disk.ClearFaults();
        seed == 0 ? disk.Crash() : disk.PowerLoss(random);
        auto wal = Wal::Open(TestOptions(), disk);
        ASSERT_TRUE(wal.ok()) << wal.status();
        ASSERT_EQ(model.Check(**wal), "");
      }
    }
    EXPECT_GT(n, 1u) << "no such operation was ever made";
  }
}

std::string OperationName(const ::testing::TestParamInfo<Operation>& tested) {
  constexpr const char* kNames[] = {"Create", "Write",    "Sync",         "Rename",
                                    "Unlink", "Truncate", "SyncDirectory"};
  return kNames[static_cast<size_t>(tested.param)];
}

INSTANTIATE_TEST_SUITE_P(Operations, EveryOperationTest,
                         ::testing::Values(Operation::kCreate, Operation::kWrite, Operation::kSync,
                                           Operation::kRename, Operation::kUnlink,
                                           Operation::kSyncDirectory),
                         OperationName);

// A log of about 16 KiB with a checkpoint, and what it holds.
class DamageTest : public ::testing::TestWithParam<uint64_t> {
 protected:
  void SetUp() override {
    SimDisk disk;
    options_.segment_bytes = GetParam();
    auto wal = Wal::Open(options_, disk);
    ASSERT_THAT(wal, IsOk());
    Random random(5);
    while ((*wal)->bytes() < 16 * 1024) {
      ASSERT_THAT((*wal)->Prepare(), IsOk());
      std::string payload = RandomPayload(random);
      ASSERT_THAT((*wal)->Append({payload}), IsOk());
      payloads_.push_back(std::move(payload));
      if (payloads_.size() % 3 == 0) {
        proven_lsn_ = (*wal)->durable_lsn();
        ASSERT_THAT((*wal)->Sync(), IsOk());
      }
    }
    ASSERT_THAT((*wal)->Sync(), IsOk());
    WEIR_ASSERT_OK_AND_ASSIGN(const std::vector<std::string> names, disk.List(kDirectory));
    for (const std::string& name : names) {
      if (name.ends_with(".wal")) files_[name] = *ReadFile(disk, name);
    }
  }

  static absl::StatusOr<std::string> ReadFile(SimDisk& disk, std::string_view name) {
    return ReadWholeFile(disk, StrCat(kDirectory, "/", name), 1 << 20);
  }

  // Opens the log with `name` replaced. It may refuse; what it serves must be
  // what was written, from the first record on and at least up to what is proven
  // to have been durable.
  void Open(const std::string& name, std::string contents) {
    SimDisk disk;
    ASSERT_THAT(CreateDirectoriesDurably(disk, kDirectory), IsOk());
    for (const auto& [other, intact] : files_) {
      disk.Install(StrCat(kDirectory, "/", other), other == name ? contents : intact);
    }
    // Never a crash here either.
    Inspect({.directory = kDirectory, .list_records = true}, disk, [](std::string_view) {
    }).IgnoreError();
    auto wal = Wal::Open(options_, disk);
    if (!wal.ok()) {
      ++refused_;
      ASSERT_TRUE(absl::IsDataLoss(wal.status()) || absl::IsFailedPrecondition(wal.status()))
          << wal.status();
      ASSERT_THAT(std::string(wal.status().message()), HasSubstr(".wal"));
      return;
    }
    ++opened_;
    if ((*wal)->durable_lsn() < payloads_.size()) {
      ++cut_;
      if ((*wal)->recovery().torn_bytes == 0) ++silent_;
    }
    auto reader = WalReader::OpenAtSegmentOf(**wal, 1);
    ASSERT_THAT(reader, IsOk());
    Record record;
    uint64_t served = 0;
    while (true) {
      const auto more = (*reader)->Next(&record);
      ASSERT_TRUE(more.ok()) << more.status();
      if (!*more) break;
      ASSERT_EQ(record.lsn, ++served);
      ASSERT_EQ(record.payload, payloads_[served - 1]);
    }
    ASSERT_EQ(served, (*wal)->durable_lsn());
    served_at_least_ = std::min(served_at_least_, served);
  }

  Options options_ = TestOptions();
  std::vector<std::string> payloads_;
  uint64_t proven_lsn_ = 0;  // the last record proves this much
  std::map<std::string, std::string> files_;
  int refused_ = 0;
  int opened_ = 0;
  int cut_ = 0;
  int silent_ = 0;  // cut without a count
  uint64_t served_at_least_ = UINT64_MAX;
};

TEST_P(DamageTest, AFlipOfAnyByteIsNeverServedAndNeverCutsWhatIsProvenDurable) {
  Random random(1);
  for (const auto& [name, intact] : files_) {
    for (size_t i = 0; i < intact.size(); ++i) {
      SCOPED_TRACE(StrCat(name, " byte ", i));
      std::string contents = intact;
      contents[i] = static_cast<char>(contents[i] ^ (1 << random.Below(8)));
      Open(name, std::move(contents));
      if (HasFatalFailure()) return;
    }
  }
  EXPECT_GE(served_at_least_, proven_lsn_);
  EXPECT_EQ(opened_, cut_);  // no byte is without meaning
  EXPECT_EQ(silent_, 0);
  std::printf("refused=%d cut=%d\n", refused_, cut_);
}

TEST_P(DamageTest, ATruncationAtAnyOffsetIsNeverServedWrongly) {
  for (const auto& [name, intact] : files_) {
    for (size_t size = 0; size < intact.size(); ++size) {
      SCOPED_TRACE(StrCat(name, " cut to ", size));
      Open(name, intact.substr(0, size));
      if (HasFatalFailure()) return;
    }
  }
  // A file that ends between two records, at the end of a log, looks whole.
  EXPECT_LE(silent_, static_cast<int>(payloads_.size()));
  std::printf("refused=%d opened=%d cut=%d silent=%d\n", refused_, opened_, cut_, silent_);
}

INSTANTIATE_TEST_SUITE_P(SegmentSizes, DamageTest, ::testing::Values(4096, 1 << 20),
                         [](const auto& tested) {
                           return tested.param == 4096 ? "ManySegments" : "OneSegment";
                         });

}  // namespace
}  // namespace weir::wal
