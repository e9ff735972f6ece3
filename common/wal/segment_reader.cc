#include "common/wal/segment_reader.h"

#include <algorithm>
#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"

namespace weir::wal {
namespace {

// The read-ahead doubles from the first to the second while reads are filled: a
// scan makes few calls, and following the end of a log clears little memory.
constexpr size_t kMinReadAheadBytes = size_t{64} << 10;
constexpr size_t kMaxReadAheadBytes = size_t{1} << 20;

absl::Status WithPath(const absl::Status& status, std::string_view path) {
  if (status.ok()) return status;
  return absl::Status(status.code(), StrCat(path, ": ", status.message()));
}

}  // namespace

absl::StatusOr<std::unique_ptr<SegmentReader>> SegmentReader::Open(FileSystem& files,
                                                                   const std::string& directory,
                                                                   uint64_t number) {
  std::string path = StrCat(directory, "/", SegmentName(number));
  WEIR_ASSIGN_OR_RETURN(std::unique_ptr<RandomAccessFile> file, files.OpenForRead(path));
  std::unique_ptr<SegmentReader> reader(new SegmentReader(std::move(path), std::move(file)));
  std::string bytes;
  WEIR_RETURN_IF_ERROR(reader->file_->Read(0, kSegmentHeaderBytes, &bytes));
  absl::StatusOr<SegmentHeader> header = ParseSegmentHeader(bytes);
  if (!header.ok()) return WithPath(header.status(), reader->path_);
  if (header->number != number) {
    return absl::DataLossError(StrCat(reader->path_, ": its header says segment ", header->number,
                                      "; the file was renamed or copied"));
  }
  reader->segment_ = *std::move(header);
  reader->seed_ = SegmentSeed(reader->segment_.id, number);
  reader->next_lsn_ = reader->segment_.first_lsn;
  reader->chain_ = reader->segment_.chain;
  return reader;
}

absl::Status SegmentReader::Fill(size_t length, std::string_view* bytes) {
  const uint64_t skip = offset_ - buffer_offset_;
  if (offset_ < buffer_offset_ || skip > buffer_.size() || buffer_.size() - skip < length) {
    const size_t wanted = std::max(length, read_ahead_bytes_);
    WEIR_RETURN_IF_ERROR(file_->Read(offset_, wanted, &buffer_));
    buffer_offset_ = offset_;
    read_ahead_bytes_ = buffer_.size() < wanted
                            ? kMinReadAheadBytes
                            : std::clamp(2 * wanted, kMinReadAheadBytes, kMaxReadAheadBytes);
  }
  *bytes = std::string_view(buffer_).substr(offset_ - buffer_offset_);
  return absl::OkStatus();
}

absl::StatusOr<SegmentReader::Result> SegmentReader::ReadHere(uint64_t first_lsn,
                                                              uint64_t last_lsn) {
  std::string_view bytes;
  WEIR_RETURN_IF_ERROR(Fill(kRecordHeaderBytes, &bytes));
  if (bytes.empty()) return Result::kEnd;
  if (bytes.size() < kRecordHeaderBytes) {
    why_ = "the file ends within a record header";
    return Result::kBad;
  }
  if (!ParseRecordHeader(bytes, &header_)) {
    why_ = "not a record header";
    return Result::kBad;
  }
  // Before the checksum, which is what costs: a payload may be full of markers.
  if (header_.lsn < first_lsn || header_.lsn > last_lsn) {
    why_ = "a record header of another lsn";
    return Result::kBad;
  }
  const size_t total = RecordBytes(header_.length);
  WEIR_RETURN_IF_ERROR(Fill(total, &bytes));
  if (bytes.size() < total) {
    why_ = "the file ends within a record";
    return Result::kBad;
  }
  const size_t covered = kRecordHeaderBytes + header_.length;
  if (!RecordIntact(header_, bytes.substr(0, covered), seed_)) {
    why_ = "checksum mismatch";
    return Result::kBad;
  }
  if (bytes.substr(covered, total - covered).find_first_not_of('\0') != std::string_view::npos) {
    why_ = "padding is not zero";
    return Result::kBad;
  }
  payload_ = bytes.substr(kRecordHeaderBytes, header_.length);
  return Result::kRecord;
}

void SegmentReader::Take() {
  offset_ += RecordBytes(header_.length);
  next_lsn_ = header_.lsn + 1;
  chain_ = header_.crc;
}

absl::StatusOr<SegmentReader::Result> SegmentReader::Next() {
  WEIR_ASSIGN_OR_RETURN(const Result result, ReadHere(next_lsn_, next_lsn_));
  if (result != Result::kRecord) return result;
  if (header_.chain != chain_) {
    why_ = "an intact record, but not the successor of the one before it";
    return Result::kBad;
  }
  Take();
  return Result::kRecord;
}

absl::StatusOr<SegmentReader::Result> SegmentReader::Resync(uint64_t from) {
  const uint64_t home = offset_;
  for (offset_ = (from + 7) / 8 * 8;; offset_ += 8) {
    // As many records as fit in between can be missing, and no more.
    const uint64_t last_lsn = next_lsn_ + (offset_ - home) / RecordBytes(1);
    absl::StatusOr<Result> result = ReadHere(next_lsn_, last_lsn);
    if (!result.ok() || *result == Result::kEnd) {
      offset_ = home;
      return result;
    }
    if (*result == Result::kRecord) {
      Take();
      return Result::kRecord;
    }
  }
}

}  // namespace weir::wal
