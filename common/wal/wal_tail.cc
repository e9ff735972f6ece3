#include "common/wal/wal_tail.h"

#include <algorithm>

#include "common/base/status_macros.h"

namespace weir::wal {
namespace {

// The smallest unit that a disk writes or does not.
constexpr uint64_t kSectorBytes = 512;

// Whether a sector of `bytes`, which lie at `offset` of the file, is all zero.
bool HasZeroSector(std::string_view bytes, uint64_t offset) {
  while (!bytes.empty()) {
    const uint64_t length = std::min<uint64_t>(bytes.size(), kSectorBytes - offset % kSectorBytes);
    if (bytes.substr(0, length).find_first_not_of('\0') == std::string_view::npos) return true;
    bytes.remove_prefix(length);
    offset += length;
  }
  return false;
}

// Where the bad record at `offset` ends, as far as its header can be believed.
absl::StatusOr<bool> HasMarksOfUnfinishedWrite(const SegmentReader& reader, uint64_t offset,
                                               uint64_t size) {
  std::string bytes;
  WEIR_RETURN_IF_ERROR(reader.ReadRaw(offset, RecordBytes(kMaxRecordBytes), &bytes));
  if (bytes.size() < kRecordHeaderBytes) return true;
  RecordHeader header;
  if (ParseRecordHeader(bytes, &header)) {
    if (offset + RecordBytes(header.length) > size) return true;
    bytes.resize(RecordBytes(header.length));
  }
  return HasZeroSector(bytes, offset);
}

}  // namespace

absl::StatusOr<TailVerdict> JudgeTail(SegmentReader& reader, uint64_t size, uint64_t proven_lsn) {
  TailVerdict verdict;
  verdict.offset = reader.offset();
  verdict.lsn = reader.next_lsn();
  verdict.why = std::string(reader.why());
  verdict.proven_lsn = proven_lsn;
  WEIR_ASSIGN_OR_RETURN(const bool marked, HasMarksOfUnfinishedWrite(reader, verdict.offset, size));
  for (uint64_t from = verdict.offset + 8;; from = reader.offset()) {
    WEIR_ASSIGN_OR_RETURN(const SegmentReader::Result result, reader.Resync(from));
    if (result == SegmentReader::Result::kEnd) break;
    verdict.proven_lsn = std::max(verdict.proven_lsn, reader.header().durable_lsn);
  }
  verdict.damage = verdict.proven_lsn >= verdict.lsn;
  verdict.without_marks = !verdict.damage && !marked;
  return verdict;
}

}  // namespace weir::wal
