// An append-only log of opaque records on one disk.
//
//   directory/LOCK                      held while open
//   directory/CHECKPOINT                the only side file, replaced atomically
//   directory/00000000000000000001.wal  segments, named by their number
//
// A record is what one group commit wrote; its log sequence number (lsn) starts
// at 1 and rises by one per record. The log knows bytes, not samples.
// docs/formats/wal.md describes every byte.
//
// Invariants:
//   (id, lsn) denotes one content for ever: an lsn that was durable is never
//     written again with other bytes.
//   Nothing with an lsn above durable_lsn() survives a power loss for sure;
//     the caller shows nothing of it to anyone.
//   The log is the truth. The checkpoint only says what may be forgotten.
//
// Thread safety: one writer thread calls Prepare, Append, Sync, Checkpoint;
// the const accessors and WalReader may be used from any thread beside it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/file_system.h"
#include "common/base/id128.h"
#include "common/base/mutant.h"
#include "common/base/mutex.h"

namespace weir::wal {

class SegmentReader;

// The largest payload of one record. A length above it is never believed, so
// a damaged length field cannot make a reader allocate.
inline constexpr size_t kMaxRecordBytes = size_t{4} << 20;

struct Options {
  std::string directory;

  // Drawn at random by the caller; used only when the directory is new. Not zero.
  WalId new_id;

  // What the application needs to find unchanged when it opens the log again,
  // at most 64 bytes: the slot count, for one. Written in every segment header;
  // a mismatch refuses to open.
  std::string application_tag;

  // A new segment starts at the first Prepare after this size. In [4 KiB, 1 GiB].
  uint64_t segment_bytes = uint64_t{64} << 20;

  // The most bytes all segments may hold. Append refuses beyond it; 0 means no
  // limit. At least two segments when not 0; a record larger than the quota less
  // one full segment may never fit. Headers of new segments are exempt: only a
  // new segment lets the full one before it be forgotten.
  uint64_t quota_bytes = 0;

  Mutant mutant = Mutant::kNone;
};

// What opening found. Every loss is counted here; none is silent.
struct Recovery {
  bool created = false;     // the directory was new
  uint64_t records = 0;     // records found intact above the trim point
  uint64_t bytes = 0;       // their payload bytes
  uint64_t torn_bytes = 0;  // cut from the end of the last segment, kept aside as *.torn
  uint64_t segments = 0;    // that hold those records
  // The cut bytes have none of the marks of an unfinished write (an all-zero
  // sector, a record beyond the end of the file), and nothing proves that they
  // were durable either: a disk that wrote garbage, or damage to the last group
  // commit before the stop. Worth an alarm.
  bool torn_without_marks = false;
};

// A point to append at.
struct Position {
  uint64_t segment = 0;
  uint64_t lsn = 0;
};

struct Record {
  uint64_t segment = 0;
  uint64_t lsn = 0;
  std::string payload;
};

// What the checkpoint holds: everything at or below trim_lsn may be gone from
// the log; `state` is the application's, as of trim_lsn and not later.
struct CheckpointData {
  uint64_t trim_lsn = 0;
  std::string state;
};

class Wal {
 public:
  // Opens or creates the log: takes the lock, reads the checkpoint, scans the
  // segments, cuts a torn tail (only the end of the last segment may be torn),
  // and makes everything it found durable before it returns, because bytes that
  // a killed process wrote may live in the page cache alone. Always starts a
  // new segment for what comes next.
  //
  // Errors:
  //   InvalidArgument     an option out of its range.
  //   FailedPrecondition  another process has it open; another application_tag;
  //                       a format version newer than this program.
  //   DataLoss            damage anywhere but in a torn tail; the message names
  //                       the file, the offset, and how to look at it.
  //   ResourceExhausted   no space for the new segment's header.
  //   Unavailable         the disk answered with an error.
  static absl::StatusOr<std::unique_ptr<Wal>> Open(Options options, FileSystem& files);

  ~Wal();

  const WalId& id() const { return id_; }
  const Recovery& recovery() const { return recovery_; }
  // The checkpoint found when the log was opened.
  const CheckpointData& checkpoint() const { return checkpoint_; }

  uint64_t durable_lsn() const { return durable_lsn_.load(std::memory_order_acquire); }
  uint64_t trim_lsn() const { return trim_lsn_.load(std::memory_order_acquire); }
  // Bytes of all segments on disk, headers included.
  uint64_t bytes() const { return bytes_.load(std::memory_order_acquire); }

  // Where the next Append will go, after starting a new segment if the current
  // one is full; that syncs the full one first, so durable_lsn() may rise. Valid
  // until that Append.
  //
  // Errors:
  //   ResourceExhausted  no space for a segment header: the log is whole.
  //   Unavailable        as a failed Sync.
  absl::StatusOr<Position> Prepare();

  // Appends one record at the prepared position: the concatenation of `pieces`,
  // 1 to kMaxRecordBytes in all. Written, not durable.
  //
  // Errors:
  //   ResourceExhausted  over the quota: nothing was written, the log is whole.
  //   Unavailable        the write failed: the log is broken, as after a failed
  //                      Sync, since a part of the record may be in the file.
  absl::Status Append(const std::vector<std::string_view>& pieces);

  // Makes every record appended before the call durable, then raises
  // durable_lsn(). Any error breaks the log for good (the kernel may have
  // dropped the pages): every later call returns that error, and the process
  // must end and recover from the disk.
  absl::Status Sync();

  // Records durably that everything up to `data.trim_lsn` may be forgotten, then
  // removes the segments that hold nothing above it, oldest first, never the
  // current one.
  // REQUIRES: trim_lsn() <= data.trim_lsn <= durable_lsn().
  //
  // Errors:
  //   InvalidArgument    data.state is larger than 64 MiB.
  //   ResourceExhausted  no space: the old checkpoint holds, the log is whole.
  //   Unavailable        the checkpoint could not be written: the log is broken;
  //                      or it was, and a segment could not be removed: the next
  //                      call tries again.
  absl::Status Checkpoint(const CheckpointData& data);

  // The lsn of the last record of the oldest segment that is not the current
  // one, or 0 when there is none: the next trim point worth a checkpoint.
  uint64_t oldest_segment_last_lsn() const;

 private:
  friend class WalReader;
  // One segment on disk. The last one is being written.
  struct Segment {
    uint64_t number = 0;
    uint64_t first_lsn = 0;  // of its first record, present or to come
    uint64_t last_lsn = 0;   // first_lsn - 1 while it is empty
    uint64_t bytes = 0;
  };

  Wal(Options options, FileSystem& files);

  // Opening, in wal_recovery.cc.
  absl::Status Recover();
  absl::StatusOr<std::vector<uint64_t>> ListSegments();
  absl::StatusOr<bool> ReadCheckpoint();
  absl::StatusOr<size_t> FirstNeeded(const std::vector<uint64_t>& numbers);
  absl::Status ScanSegment(uint64_t number, bool last);
  absl::Status CutTail(SegmentReader& reader, uint64_t size);
  absl::Status MakeRecoveredDurable();
  absl::Status RemoveSurplus(const std::vector<uint64_t>& below_trim);

  absl::Status StartSegment();
  absl::StatusOr<std::unique_ptr<WritableFile>> WriteSegmentHeader(const std::string& path);
  absl::Status RemoveTrimmed();
  absl::Status Break(const absl::Status& why);
  std::string SegmentPath(uint64_t number) const;

  // Constant after Open.
  const Options options_;
  FileSystem& files_;
  WalId id_;
  Recovery recovery_;
  CheckpointData checkpoint_;
  uint64_t checkpoint_durable_lsn_ = 0;
  std::unique_ptr<FileLock> lock_;

  // Written by the writer thread, read by all.
  std::atomic<uint64_t> durable_lsn_{0};
  std::atomic<uint64_t> trim_lsn_{0};
  std::atomic<uint64_t> bytes_{0};

  // The writer thread's own.
  std::unique_ptr<WritableFile> file_;  // the current segment
  uint64_t file_bytes_ = 0;
  uint64_t file_number_ = 0;
  uint32_t seed_ = 0;  // of the current segment's checksums
  uint64_t next_lsn_ = 1;
  uint32_t chain_ = 0;  // the checksum of the last record
  std::string buffer_;
  absl::Status broken_;

  // Shared with readers. Never empty once open; the last is the current one,
  // whose last_lsn and bytes are set when the next one starts.
  mutable Mutex mu_;
  std::vector<Segment> segments_ ABSL_GUARDED_BY(mu_);
};

// Reads durable records in order, from disk, beside the writer, checking every
// byte again: what leaves the process is what was acknowledged.
//
// Thread safety: thread-compatible; one per reading thread.
class WalReader {
 public:
  // Starts at the beginning of the segment that holds `lsn` (or would hold it
  // next), so that the reader sees whatever that segment defined before it.
  // The log outlives the reader.
  // Errors: OutOfRange when `lsn` is at or below the trim point and its segment
  // is gone.
  static absl::StatusOr<std::unique_ptr<WalReader>> OpenAtSegmentOf(const Wal& wal, uint64_t lsn);

  ~WalReader();

  // Reads the next record with an lsn of at most wal.durable_lsn() into
  // `*record`, whose buffers are reused. Returns false when there is none yet.
  // Errors: DataLoss for damage; NotFound when the segment was removed under it.
  absl::StatusOr<bool> Next(Record* record);

 private:
  explicit WalReader(const Wal& wal);

  // Opens the segment that holds next_lsn_, or notices that it is still the
  // same one, and learns how far that one may be read.
  absl::Status Advance(uint64_t durable_lsn);

  const Wal& wal_;
  std::unique_ptr<SegmentReader> segment_;
  uint64_t next_lsn_ = 0;
  uint64_t last_readable_lsn_ = 0;  // in segment_, of those known to be durable
};

}  // namespace weir::wal
