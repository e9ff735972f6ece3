// Reads the records of one segment file in order: what recovery, WalReader and
// Inspect have in common. Decides what is intact; what a damaged place means is
// for the caller to say.
//
// Thread safety: thread-compatible; the file may be appended to meanwhile.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "common/base/file_system.h"
#include "common/wal/wal_format.h"

namespace weir::wal {

class SegmentReader {
 public:
  enum class Result {
    kRecord,  // header() and payload() hold it
    kEnd,     // the file ends here
    kBad,     // something is here, but not the record that must come next: why()
  };

  // Opens the segment and checks its header against its name; the path is part
  // of every error. Errors: as FileSystem, as ParseSegmentHeader, and DataLoss
  // when the header carries another number than the name.
  static absl::StatusOr<std::unique_ptr<SegmentReader>> Open(FileSystem& files,
                                                             const std::string& directory,
                                                             uint64_t number);

  const std::string& path() const { return path_; }
  const SegmentHeader& segment() const { return segment_; }

  // Reads the next record, which must be intact and carry the next lsn and the
  // chain. Only kRecord moves the reader. Errors: as RandomAccessFile::Read.
  absl::StatusOr<Result> Next();

  const RecordHeader& header() const { return header_; }
  std::string_view payload() const { return payload_; }  // valid until the next call
  std::string_view why() const { return why_; }

  // Where the next record is or will be, its lsn, and the chain it must carry.
  uint64_t offset() const { return offset_; }
  uint64_t next_lsn() const { return next_lsn_; }
  uint32_t chain() const { return chain_; }

  // Drops what was read ahead: bytes that were not final when they were read.
  void ForgetReadAhead() { buffer_.clear(); }

  // Reads up to `length` raw bytes at `offset`, without moving.
  absl::Status ReadRaw(uint64_t offset, size_t length, std::string* out) const {
    return file_->Read(offset, length, out);
  }

  // Moves to the first intact record of this segment at or after `from` with an
  // lsn of at least next_lsn(), and reads it; chain and gaps are not checked.
  // Returns kEnd when there is none, and then has not moved.
  absl::StatusOr<Result> Resync(uint64_t from);

 private:
  SegmentReader(std::string path, std::unique_ptr<RandomAccessFile> file)
      : path_(std::move(path)), file_(std::move(file)) {}

  // Makes `length` bytes at offset_ available in `*bytes`; fewer at the end of
  // the file.
  absl::Status Fill(size_t length, std::string_view* bytes);
  // Whether an intact record with an lsn in [first_lsn, last_lsn], whatever its
  // chain, is at offset_.
  absl::StatusOr<Result> ReadHere(uint64_t first_lsn, uint64_t last_lsn);
  void Take();

  const std::string path_;
  const std::unique_ptr<RandomAccessFile> file_;
  SegmentHeader segment_;
  uint32_t seed_ = 0;

  uint64_t offset_ = kSegmentHeaderBytes;
  uint64_t next_lsn_ = 0;
  uint32_t chain_ = 0;

  std::string buffer_;  // the file's bytes from buffer_offset_
  uint64_t buffer_offset_ = 0;
  size_t read_ahead_bytes_ = 0;

  RecordHeader header_;
  std::string_view payload_;
  std::string_view why_;
};

}  // namespace weir::wal
