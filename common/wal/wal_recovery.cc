// Opening a log: the part of Wal that runs once.
//
// Every step may be cut off by another crash, and then runs again from the
// start, so each leaves a directory that the steps before it accept:
//
//   1. Directory and lock. Temporary files go: they never had a real name.
//   2. The checkpoint says up to where records may be gone.
//   3. Segments wholly at or below it are set apart, not read, and removed last.
//   4. The others must follow one another without a gap, by lsn and by chain.
//   5. The end of the last one may be torn; it is kept aside, then cut.
//   6. Everything is made durable, whoever wrote it.
//   7. A new segment starts. Then what is not needed goes, oldest first.
//
// docs/formats/wal.md has the table of what each crash leaves behind.
#include <algorithm>
#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "common/wal/segment_reader.h"
#include "common/wal/wal.h"
#include "common/wal/wal_format.h"
#include "common/wal/wal_tail.h"

namespace weir::wal {
namespace {

// Torn bytes are evidence, not data: the newest few, two large records of each.
constexpr size_t kMaxTornFiles = 4;
constexpr size_t kMaxTornBytes = 2 * RecordBytes(kMaxRecordBytes);
constexpr std::string_view kTornSuffix = ".torn";
constexpr std::string_view kTemporarySuffix = ".tmp";

// Every damage that opening finds ends here: it refuses, and says where to look.
absl::Status Damage(std::string_view path, uint64_t offset, std::string_view what) {
  return absl::DataLossError(StrCat(path, " at offset ", offset, ": ", what,
                                    "; `weir wal inspect` shows the whole directory"));
}

}  // namespace

absl::Status Wal::Recover() {
  WEIR_RETURN_IF_ERROR(CreateDirectoriesDurably(files_, options_.directory));
  WEIR_ASSIGN_OR_RETURN(lock_, files_.Lock(StrCat(options_.directory, "/", kLockName)));
  WEIR_ASSIGN_OR_RETURN(const std::vector<uint64_t> numbers, ListSegments());
  WEIR_ASSIGN_OR_RETURN(const bool has_checkpoint, ReadCheckpoint());

  if (numbers.empty()) {
    // No crash leaves a checkpoint alone, as the current segment is never
    // removed. Starting over would give lsns a second meaning.
    if (has_checkpoint) {
      return Damage(options_.directory, 0, "there is a checkpoint, but every segment is missing");
    }
    recovery_.created = true;
    id_ = options_.new_id;
    chain_ = FirstChain(id_);
    return StartSegment();
  }

  WEIR_ASSIGN_OR_RETURN(const size_t first, FirstNeeded(numbers));
  for (size_t i = first; i < numbers.size(); ++i) {
    WEIR_RETURN_IF_ERROR(ScanSegment(numbers[i], /*last=*/i + 1 == numbers.size()));
  }
  if (next_lsn_ <= checkpoint_durable_lsn_) {
    return Damage(SegmentPath(numbers.back()), 0,
                  StrCat("the log ends at lsn ", next_lsn_ - 1, ", but its checkpoint saw ",
                         checkpoint_durable_lsn_, "; the newest segment is missing"));
  }
  WEIR_RETURN_IF_ERROR(MakeRecoveredDurable());
  durable_lsn_.store(next_lsn_ - 1, std::memory_order_release);
  file_number_ = numbers.back();
  WEIR_RETURN_IF_ERROR(StartSegment());
  return RemoveSurplus({numbers.begin(), numbers.begin() + static_cast<std::ptrdiff_t>(first)});
}

// The numbers of all segments, ascending. Removes temporary files.
absl::StatusOr<std::vector<uint64_t>> Wal::ListSegments() {
  WEIR_ASSIGN_OR_RETURN(const std::vector<std::string> names, files_.List(options_.directory));
  std::vector<uint64_t> numbers;
  for (const std::string& name : names) {
    uint64_t number = 0;
    if (ParseSegmentName(name, &number)) {
      numbers.push_back(number);
    } else if (name.ends_with(kTemporarySuffix)) {
      WEIR_RETURN_IF_ERROR(files_.Unlink(StrCat(options_.directory, "/", name)));
    }
  }
  return numbers;
}

// Returns whether there is one.
absl::StatusOr<bool> Wal::ReadCheckpoint() {
  const std::string path = StrCat(options_.directory, "/", kCheckpointName);
  const absl::StatusOr<std::string> bytes =
      ReadWholeFile(files_, path, kCheckpointHeaderBytes + kMaxStateBytes);
  if (absl::IsNotFound(bytes.status())) return false;
  if (absl::IsResourceExhausted(bytes.status())) return Damage(path, 0, "impossibly large");
  WEIR_RETURN_IF_ERROR(bytes.status());
  absl::StatusOr<CheckpointRecord> record = ParseCheckpoint(*bytes);
  if (absl::IsDataLoss(record.status())) return Damage(path, 0, StdView(record.status().message()));
  if (!record.ok()) {
    return absl::Status(record.status().code(), StrCat(path, ": ", record.status().message()));
  }
  id_ = record->id;
  checkpoint_ = {.trim_lsn = record->trim_lsn, .state = std::move(record->state)};
  checkpoint_durable_lsn_ = record->durable_lsn;
  trim_lsn_.store(checkpoint_.trim_lsn, std::memory_order_release);
  return true;
}

// The index of the first segment with anything above the trim point in it, or
// to come. Segments before it may have gaps: a power loss can undo the removal of
// one and not of the next. Checks that all from there on are of one log.
absl::StatusOr<size_t> Wal::FirstNeeded(const std::vector<uint64_t>& numbers) {
  for (size_t i = numbers.size(); i-- > 0;) {
    WEIR_ASSIGN_OR_RETURN(const std::unique_ptr<SegmentReader> reader,
                          SegmentReader::Open(files_, options_.directory, numbers[i]));
    const SegmentHeader& header = reader->segment();
    if (id_.zero()) id_ = header.id;
    if (header.id != id_) {
      return Damage(reader->path(), 0,
                    StrCat("belongs to log ", header.id.ToHex(), ", not ", id_.ToHex()));
    }
    if (header.tag != options_.application_tag) {
      return absl::FailedPreconditionError(
          StrCat(reader->path(), ": written by an application with the tag '", header.tag,
                 "', not '", options_.application_tag, "'"));
    }
    if (header.first_lsn <= checkpoint_.trim_lsn + 1) return i;
    if (i == 0) {
      return Damage(
          reader->path(), 0,
          StrCat("the oldest segment begins at lsn ", header.first_lsn, ", but only up to ",
                 checkpoint_.trim_lsn, " may be gone; a segment is missing"));
    }
  }
  return size_t{0};
}

absl::Status Wal::ScanSegment(uint64_t number, bool last) {
  WEIR_ASSIGN_OR_RETURN(const std::unique_ptr<SegmentReader> reader,
                        SegmentReader::Open(files_, options_.directory, number));
  WEIR_ASSIGN_OR_RETURN(uint64_t size, files_.FileSize(reader->path()));
  {
    MutexLock lock(&mu_);
    const bool oldest = segments_.empty();
    if (!oldest && reader->segment().first_lsn != next_lsn_) {
      return Damage(reader->path(), 0,
                    StrCat("begins at lsn ", reader->segment().first_lsn, ", but ", next_lsn_,
                           " comes next; a segment is missing"));
    }
    if (!oldest && reader->segment().chain != chain_) {
      return Damage(reader->path(), 0, "does not continue the segment before it");
    }
  }
  const uint64_t records_before = recovery_.records;
  while (true) {
    WEIR_ASSIGN_OR_RETURN(const SegmentReader::Result result, reader->Next());
    if (result == SegmentReader::Result::kEnd) break;
    if (result == SegmentReader::Result::kBad) {
      // Only the last segment may be torn: the next one was started when every
      // record of this one was durable.
      if (!last) return Damage(reader->path(), reader->offset(), reader->why());
      const uint64_t whole_bytes = reader->offset();
      next_lsn_ = reader->next_lsn();
      chain_ = reader->chain();
      WEIR_RETURN_IF_ERROR(CutTail(*reader, size));
      size = whole_bytes;
      break;
    }
    next_lsn_ = reader->next_lsn();
    chain_ = reader->chain();
    if (reader->header().lsn > checkpoint_.trim_lsn) {
      ++recovery_.records;
      recovery_.bytes += reader->payload().size();
    }
  }
  // Of a segment without records the header alone says where the log stands.
  const uint64_t first_lsn = reader->segment().first_lsn;
  if (next_lsn_ <= first_lsn) {
    next_lsn_ = first_lsn;
    chain_ = reader->segment().chain;
  }
  if (recovery_.records > records_before) ++recovery_.segments;
  bytes_.fetch_add(size, std::memory_order_acq_rel);
  MutexLock lock(&mu_);
  segments_.push_back(
      {.number = number, .first_lsn = first_lsn, .last_lsn = next_lsn_ - 1, .bytes = size});
  return absl::OkStatus();
}

absl::Status Wal::CutTail(SegmentReader& reader, uint64_t size) {
  WEIR_ASSIGN_OR_RETURN(const TailVerdict verdict,
                        JudgeTail(reader, size, checkpoint_durable_lsn_));
  if (verdict.damage) {
    return Damage(reader.path(), verdict.offset,
                  StrCat("lsn ", verdict.lsn, " is damaged (", verdict.why, "), and lsn ",
                         verdict.proven_lsn, " is known to have been durable"));
  }
  recovery_.torn_bytes = size - verdict.offset;
  recovery_.torn_without_marks = verdict.without_marks;
  if (options_.mutant == Mutant::kKeepTornTail) return absl::OkStatus();

  std::string torn;
  WEIR_RETURN_IF_ERROR(reader.ReadRaw(verdict.offset, kMaxTornBytes, &torn));
  const std::string name = StrCat(SegmentName(reader.segment().number), kTornSuffix);
  const absl::Status kept = WriteFileAtomically(files_, options_.directory, name, torn);
  // A full disk must not keep the log closed: nothing acknowledged is in there.
  if (!kept.ok() && !absl::IsResourceExhausted(kept)) return kept;

  WEIR_ASSIGN_OR_RETURN(std::vector<std::string> names, files_.List(options_.directory));
  std::erase_if(names, [](const std::string& n) { return !n.ends_with(kTornSuffix); });
  for (size_t i = 0; i + kMaxTornFiles < names.size(); ++i) {  // ascending by segment
    WEIR_RETURN_IF_ERROR(files_.Unlink(StrCat(options_.directory, "/", names[i])));
  }
  return files_.Truncate(reader.path(), verdict.offset);
}

// What was read may live in the page cache alone: a killed process had written
// it and not synced it. Nothing of it may be shown to anyone before it is on the
// disk, or a power loss would take it back.
absl::Status Wal::MakeRecoveredDurable() {
  if (options_.mutant == Mutant::kNoRecoverySync) return absl::OkStatus();
  std::vector<Segment> segments;
  {
    MutexLock lock(&mu_);
    segments = segments_;
  }
  for (size_t i = 0; i + 1 < segments.size(); ++i) {
    WEIR_RETURN_IF_ERROR(files_.SyncFile(SegmentPath(segments[i].number)));
  }
  // The process before may have died of a failed sync, after which the kernel
  // calls pages clean that it never wrote. The earlier segments were synced
  // with success, or the later ones would not exist.
  WEIR_RETURN_IF_ERROR(files_.RewriteFile(SegmentPath(segments.back().number)));
  return files_.SyncDirectory(options_.directory);
}

// Removes, now that the new segment carries on, what no longer holds anything:
// segments below the trim point, and segments without records.
absl::Status Wal::RemoveSurplus(const std::vector<uint64_t>& below_trim) {
  for (const uint64_t number : below_trim) {
    WEIR_RETURN_IF_ERROR(files_.Unlink(SegmentPath(number)));
  }
  WEIR_RETURN_IF_ERROR(RemoveTrimmed());
  std::vector<Segment> empty;
  {
    MutexLock lock(&mu_);
    const auto without_records = [&](const Segment& segment) {
      return segment.last_lsn < segment.first_lsn && segment.number != file_number_;
    };
    std::copy_if(segments_.begin(), segments_.end(), std::back_inserter(empty), without_records);
    std::erase_if(segments_, without_records);
  }
  for (const Segment& segment : empty) {
    WEIR_RETURN_IF_ERROR(files_.Unlink(SegmentPath(segment.number)));
    bytes_.fetch_sub(segment.bytes, std::memory_order_acq_rel);
  }
  return absl::OkStatus();
}

}  // namespace weir::wal
