// A disk in memory that keeps no more of its promises than a real one.
//
// It holds, for every file, what is written and what of it is synced, and for
// every name, whether a directory sync has made it durable. Then:
//   Crash()      the process dies: all that was written survives, every open
//                file becomes unusable, every lock is released.
//   PowerLoss()  the machine dies too. Of what was not synced it keeps any
//                subset: each 512-byte sector of appended data is kept, zeroed
//                or garbage, the size is anything from the synced to the written
//                one, a truncation is kept or undone. Names created, renamed or
//                removed since the last directory sync are kept or undone, in any
//                combination in which each name's own history has no gap; a
//                rename is atomic.
//
// Files are cheap to append to and to sync, so that a simulation can run 100,000
// seeds of thousands of operations. All randomness comes from the caller: the
// same calls leave the same bytes.
//
// Paths are absolute; "/" exists. A rename stays within its directory.
//
// Thread safety: thread-safe. A fault hook runs under the disk's lock and must
// not use the disk. The disk outlives every object it hands out.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "common/base/file_system.h"
#include "common/base/mutex.h"
#include "common/base/random.h"

namespace weir::test {

class SimDisk final : public FileSystem {
 public:
  static constexpr uint64_t kSectorBytes = 512;

  // What can be made to fail. SyncFile and RewriteFile count as kSync.
  enum class Operation { kCreate, kWrite, kSync, kRename, kUnlink, kTruncate, kSyncDirectory };
  static constexpr size_t kOperationCount = 7;

  struct Fault {
    enum class Kind {
      kNone,
      kFail,       // an error, and nothing was done
      kFailAfter,  // an error, but everything was done
      kPartial,    // kWrite: the first `bytes` are in the file.
                   // kSync: the first `bytes` not synced before are; then as kLie
      kLie,        // kSync: an error, and the pages are clean ever after: no later
                   // sync writes them, only RewriteFile does. Elsewhere as kFail
    };
    Kind kind = Kind::kNone;
    uint64_t bytes = 0;
  };

  // Asked at every operation; the sum of what happened is in `counts`.
  using FaultHook = std::function<Fault(Operation operation, std::string_view path)>;

  // How often things happened: a run in which none of them did proves nothing.
  struct Counts {
    std::array<uint64_t, kOperationCount> operations{};
    std::array<uint64_t, kOperationCount> faults{};
    uint64_t out_of_space = 0;
    uint64_t crashes = 0;  // power losses included
    uint64_t power_losses = 0;
    uint64_t sectors_kept = 0;
    uint64_t sectors_zeroed = 0;
    uint64_t sectors_garbled = 0;
    uint64_t truncations_undone = 0;
    uint64_t names_kept = 0;  // unsynced changes of a directory
    uint64_t names_undone = 0;
  };

  SimDisk();
  ~SimDisk() override;

  void Crash();
  void PowerLoss(Random& random);

  // Asked before the armed faults. Null for none.
  void SetFaultHook(FaultHook hook);
  // Makes the n-th `operation` from now (1 is the next) fail. Several may be armed.
  void FailNth(Operation operation, uint64_t n, Fault fault);
  void ClearFaults();

  // The most bytes all files may hold; a write beyond it writes what fits and
  // fails with ResourceExhausted. 0 means no limit.
  void SetCapacity(uint64_t bytes);

  Counts counts() const;
  uint64_t used_bytes() const;

  // Puts `contents` at `path`, durable, in place of whatever was there: how a
  // test damages a file or installs one.
  void Install(const std::string& path, std::string contents);

  absl::StatusOr<std::unique_ptr<WritableFile>> CreateFile(const std::string& path) override;
  absl::StatusOr<std::unique_ptr<WritableFile>> OpenForAppend(const std::string& path) override;
  absl::StatusOr<std::unique_ptr<RandomAccessFile>> OpenForRead(const std::string& path) override;
  absl::StatusOr<std::vector<std::string>> List(const std::string& directory) override;
  absl::StatusOr<uint64_t> FileSize(const std::string& path) override;
  bool Exists(const std::string& path) override;
  absl::Status Rename(const std::string& from, const std::string& to) override;
  absl::Status Unlink(const std::string& path) override;
  absl::Status CreateDirectory(const std::string& path) override;
  absl::Status Truncate(const std::string& path, uint64_t size) override;
  absl::Status SyncFile(const std::string& path) override;
  absl::Status RewriteFile(const std::string& path) override;
  absl::Status SyncDirectory(const std::string& directory) override;
  absl::StatusOr<std::unique_ptr<FileLock>> Lock(const std::string& path) override;

 private:
  class SimWritableFile;
  class SimRandomAccessFile;
  class SimFileLock;

  // [begin, end) of a file's bytes.
  struct Range {
    uint64_t begin;
    uint64_t end;
  };

  struct File {
    std::string data;         // what a read sees
    uint64_t clean_size = 0;  // bytes from here on are dirty: the next sync writes them
    std::vector<Range> lost;  // clean, but never written: a sync failed and lied
    // What the disk still holds after a truncation that is not synced.
    std::unique_ptr<std::string> before_truncation;
    bool named = true;  // counts towards used_bytes_
  };
  using FilePtr = std::shared_ptr<File>;  // by its names, current and durable, and its open files

  // A change of a directory that no sync has covered: `to` gets `file` (create),
  // or `from` becomes `to` (rename), or `from` goes (unlink).
  struct NameChange {
    std::string from;
    std::string to;
    FilePtr file;
  };
  struct Directory {
    std::map<std::string, FilePtr, std::less<>> names;
    std::map<std::string, FilePtr, std::less<>> durable_names;
    std::vector<NameChange> unsynced;
    bool durable = false;  // its own name in its parent
  };
  struct Place {
    Directory* directory;
    std::string name;
  };
  struct ArmedFault {
    Operation operation;
    uint64_t remaining;
    Fault fault;
  };

  Fault NextFault(Operation operation, std::string_view path) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::StatusOr<Place> Find(const std::string& path) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::StatusOr<FilePtr> FindFile(const std::string& path) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status AppendTo(File* file, std::string_view path, std::string_view bytes)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status SyncContents(File* file, std::string_view path, bool rewrite)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Forget(const FilePtr& file) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void LoseNames(Directory* directory, Random& random) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void LoseContents(File* file, Random& random) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void LoseSectors(File* file, Range range, uint64_t keep_percent, Random& random)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  static void Apply(const NameChange& change, std::map<std::string, FilePtr, std::less<>>* names);

  mutable Mutex mu_;
  std::map<std::string, Directory, std::less<>> directories_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_set<std::string> locks_ ABSL_GUARDED_BY(mu_);
  uint64_t generation_ ABSL_GUARDED_BY(mu_) = 0;  // of the process whose open files are usable
  uint64_t capacity_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t used_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  FaultHook hook_ ABSL_GUARDED_BY(mu_);
  std::vector<ArmedFault> armed_ ABSL_GUARDED_BY(mu_);
  Counts counts_ ABSL_GUARDED_BY(mu_);
};

}  // namespace weir::test
