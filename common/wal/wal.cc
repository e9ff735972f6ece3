#include "common/wal/wal.h"

#include <algorithm>
#include <utility>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "common/wal/wal_format.h"

namespace weir::wal {
namespace {

absl::Status Validate(const Options& options) {
  constexpr uint64_t kMinSegmentBytes = uint64_t{4} << 10;
  constexpr uint64_t kMaxSegmentBytes = uint64_t{1} << 30;
  if (options.directory.empty()) return absl::InvalidArgumentError("directory is empty");
  if (options.new_id.zero()) return absl::InvalidArgumentError("new_id is zero");
  if (options.application_tag.size() > kMaxTagBytes) {
    return absl::InvalidArgumentError("application_tag is longer than 64 bytes");
  }
  if (options.segment_bytes < kMinSegmentBytes || options.segment_bytes > kMaxSegmentBytes) {
    return absl::InvalidArgumentError("segment_bytes is not within [4 KiB, 1 GiB]");
  }
  if (options.quota_bytes != 0 && options.quota_bytes < 2 * options.segment_bytes) {
    return absl::InvalidArgumentError("quota_bytes is less than two segments");
  }
  return absl::OkStatus();
}

}  // namespace

Wal::Wal(Options options, FileSystem& files) : options_(std::move(options)), files_(files) {}
Wal::~Wal() = default;

absl::StatusOr<std::unique_ptr<Wal>> Wal::Open(Options options, FileSystem& files) {
  WEIR_RETURN_IF_ERROR(Validate(options));
  std::unique_ptr<Wal> wal(new Wal(std::move(options), files));
  WEIR_RETURN_IF_ERROR(wal->Recover());
  return wal;
}

std::string Wal::SegmentPath(uint64_t number) const {
  return StrCat(options_.directory, "/", SegmentName(number));
}

absl::Status Wal::Break(const absl::Status& why) {
  file_.reset();
  // One code whatever the disk said: the caller does the same thing about all.
  broken_ =
      absl::UnavailableError(StrCat("the log is broken until it is opened again: ", why.message()));
  return broken_;
}

absl::StatusOr<Position> Wal::Prepare() {
  WEIR_RETURN_IF_ERROR(broken_);
  if (file_bytes_ >= options_.segment_bytes) WEIR_RETURN_IF_ERROR(StartSegment());
  return Position{.segment = file_number_, .lsn = next_lsn_};
}

absl::Status Wal::Append(const std::vector<std::string_view>& pieces) {
  WEIR_RETURN_IF_ERROR(broken_);
  // The header tells what was durable now, so that recovery can tell a record
  // that was torn from one that was damaged later.
  buffer_.clear();
  const uint32_t crc = AppendRecord(
      {.chain = chain_, .lsn = next_lsn_, .durable_lsn = durable_lsn()}, pieces, seed_, &buffer_);
  if (options_.quota_bytes != 0 && bytes() + buffer_.size() > options_.quota_bytes) {
    return absl::ResourceExhaustedError(StrCat(options_.directory, ": the log holds ", bytes(),
                                               " bytes and may hold ", options_.quota_bytes));
  }
  // One call for the whole record; after an error any part of it may be there.
  const absl::Status appended = file_->Append(buffer_);
  if (!appended.ok()) return Break(appended);
  chain_ = crc;
  ++next_lsn_;
  file_bytes_ += buffer_.size();
  bytes_.fetch_add(buffer_.size(), std::memory_order_acq_rel);
  if (options_.mutant == Mutant::kForwardBeforeSync) durable_lsn_.store(next_lsn_ - 1);
  return absl::OkStatus();
}

absl::Status Wal::Sync() {
  WEIR_RETURN_IF_ERROR(broken_);
  if (durable_lsn() == next_lsn_ - 1 && options_.mutant != Mutant::kForwardBeforeSync) {
    return absl::OkStatus();
  }
  const absl::Status synced = file_->Sync();
  if (!synced.ok() && options_.mutant != Mutant::kIgnoreSyncError) return Break(synced);
  durable_lsn_.store(next_lsn_ - 1, std::memory_order_release);
  return absl::OkStatus();
}

// A segment gets its name only when its header is durable, and its first record
// only when its name is. Whatever instant the machine stops at, a file with a
// segment's name has a whole header.
absl::Status Wal::StartSegment() {
  // First, so that the existence of a segment proves that everything before it
  // was durable: only the last segment can end in a torn record.
  if (file_ != nullptr) WEIR_RETURN_IF_ERROR(Sync());

  const std::string path = SegmentPath(file_number_ + 1);
  const std::string temporary = path + ".tmp";
  absl::StatusOr<std::unique_ptr<WritableFile>> file = WriteSegmentHeader(temporary);
  if (!file.ok()) {
    // Nothing of the log was touched. Without space there may be some later;
    // any other answer is not to be trusted with more.
    files_.Unlink(temporary).IgnoreError();
    return absl::IsResourceExhausted(file.status()) ? file.status() : Break(file.status());
  }
  const absl::Status renamed = files_.Rename(temporary, path);
  if (!renamed.ok()) return Break(renamed);
  if (options_.mutant != Mutant::kNoDirectorySync) {
    const absl::Status synced = files_.SyncDirectory(options_.directory);
    if (!synced.ok()) return Break(synced);
  }

  file_ = *std::move(file);
  ++file_number_;
  seed_ = SegmentSeed(id_, file_number_);
  const uint64_t full_bytes = std::exchange(file_bytes_, kSegmentHeaderBytes);
  bytes_.fetch_add(kSegmentHeaderBytes, std::memory_order_acq_rel);
  MutexLock lock(&mu_);
  if (full_bytes != 0) {
    segments_.back().last_lsn = next_lsn_ - 1;
    segments_.back().bytes = full_bytes;
  }
  segments_.push_back({.number = file_number_,
                       .first_lsn = next_lsn_,
                       .last_lsn = next_lsn_ - 1,
                       .bytes = kSegmentHeaderBytes});
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<WritableFile>> Wal::WriteSegmentHeader(const std::string& path) {
  std::string header;
  AppendSegmentHeader({.id = id_,
                       .number = file_number_ + 1,
                       .first_lsn = next_lsn_,
                       .chain = chain_,
                       .tag = options_.application_tag},
                      &header);
  // An earlier attempt that ran out of space may have left it.
  if (files_.Exists(path)) WEIR_RETURN_IF_ERROR(files_.Unlink(path));
  WEIR_ASSIGN_OR_RETURN(std::unique_ptr<WritableFile> file, files_.CreateFile(path));
  WEIR_RETURN_IF_ERROR(file->Append(header));
  WEIR_RETURN_IF_ERROR(file->Sync());
  return file;
}

absl::Status Wal::Checkpoint(const CheckpointData& data) {
  WEIR_RETURN_IF_ERROR(broken_);
  WEIR_CHECK(trim_lsn() <= data.trim_lsn && data.trim_lsn <= durable_lsn());
  if (data.state.size() > kMaxStateBytes) {
    return absl::InvalidArgumentError(
        StrCat("a checkpoint state of ", data.state.size(), " bytes; at most 64 MiB"));
  }
  const absl::Status written =
      WriteFileAtomically(files_, options_.directory, std::string(kCheckpointName),
                          EncodeCheckpoint({.id = id_,
                                            .trim_lsn = data.trim_lsn,
                                            .durable_lsn = durable_lsn(),
                                            .state = data.state}));
  if (!written.ok()) return absl::IsResourceExhausted(written) ? written : Break(written);
  trim_lsn_.store(data.trim_lsn, std::memory_order_release);
  return RemoveTrimmed();
}

// Only called when a checkpoint at trim_lsn() is durable. The directory is not
// synced: a removed segment that a power loss brings back is below the trim
// point, and recovery removes it again.
absl::Status Wal::RemoveTrimmed() {
  while (true) {
    Segment oldest;
    {
      MutexLock lock(&mu_);
      if (segments_.size() < 2 || segments_.front().last_lsn > trim_lsn()) break;
      oldest = segments_.front();
    }
    const absl::Status removed = files_.Unlink(SegmentPath(oldest.number));
    if (!removed.ok() && !absl::IsNotFound(removed)) return removed;
    bytes_.fetch_sub(oldest.bytes, std::memory_order_acq_rel);
    MutexLock lock(&mu_);
    segments_.erase(segments_.begin());
  }
  return absl::OkStatus();
}

uint64_t Wal::oldest_segment_last_lsn() const {
  MutexLock lock(&mu_);
  return segments_.size() < 2 ? 0 : segments_.front().last_lsn;
}

}  // namespace weir::wal
