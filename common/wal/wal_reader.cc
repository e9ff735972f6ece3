#include <algorithm>
#include <iterator>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "common/wal/segment_reader.h"
#include "common/wal/wal.h"

namespace weir::wal {

WalReader::WalReader(const Wal& wal) : wal_(wal) {}
WalReader::~WalReader() = default;

absl::StatusOr<std::unique_ptr<WalReader>> WalReader::OpenAtSegmentOf(const Wal& wal,
                                                                      uint64_t lsn) {
  std::unique_ptr<WalReader> reader(new WalReader(wal));
  MutexLock lock(&wal.mu_);
  // The last segment that begins at or before it: one without records begins
  // where its successor does, and has nothing to read.
  const auto after = std::upper_bound(
      wal.segments_.begin(), wal.segments_.end(), lsn,
      [](uint64_t value, const Wal::Segment& segment) { return value < segment.first_lsn; });
  if (after == wal.segments_.begin()) {
    return absl::OutOfRangeError(
        StrCat("lsn ", lsn, " is gone; the log begins at ", wal.segments_.front().first_lsn));
  }
  reader->next_lsn_ = std::prev(after)->first_lsn;
  return reader;
}

absl::Status WalReader::Advance(uint64_t durable_lsn) {
  Wal::Segment segment;
  {
    MutexLock lock(&wal_.mu_);
    const auto after =
        std::upper_bound(wal_.segments_.begin(), wal_.segments_.end(), next_lsn_,
                         [](uint64_t value, const Wal::Segment& s) { return value < s.first_lsn; });
    if (after == wal_.segments_.begin()) {
      return absl::NotFoundError(StrCat("lsn ", next_lsn_, " was removed while being read"));
    }
    segment = *std::prev(after);
    // A segment that has a successor is durable to its end. Of the current one,
    // everything up to a durable_lsn that was read before is final.
    if (after == wal_.segments_.end()) segment.last_lsn = durable_lsn;
  }
  if (segment_ == nullptr || segment_->segment().number != segment.number) {
    WEIR_ASSIGN_OR_RETURN(
        std::unique_ptr<SegmentReader> next,
        SegmentReader::Open(wal_.files_, wal_.options_.directory, segment.number));
    const bool follows = next->segment().first_lsn == next_lsn_ && next->segment().id == wal_.id_ &&
                         (segment_ == nullptr || segment_->chain() == next->segment().chain);
    if (!follows) {
      return absl::DataLossError(
          StrCat(next->path(), " at offset 0: does not continue the log at lsn ", next_lsn_));
    }
    segment_ = std::move(next);
  } else {
    segment_->ForgetReadAhead();
  }
  last_readable_lsn_ = segment.last_lsn;
  return absl::OkStatus();
}

absl::StatusOr<bool> WalReader::Next(Record* record) {
  if (next_lsn_ > last_readable_lsn_) {
    const uint64_t durable_lsn = wal_.durable_lsn();
    if (next_lsn_ > durable_lsn) return false;
    WEIR_RETURN_IF_ERROR(Advance(durable_lsn));
  }
  WEIR_ASSIGN_OR_RETURN(const SegmentReader::Result result, segment_->Next());
  if (result != SegmentReader::Result::kRecord) {
    return absl::DataLossError(
        StrCat(segment_->path(), " at offset ", segment_->offset(), ": lsn ", next_lsn_,
               " was durable, but ",
               result == SegmentReader::Result::kEnd ? "the file ends here" : segment_->why()));
  }
  record->segment = segment_->segment().number;
  record->lsn = next_lsn_++;
  record->payload.assign(segment_->payload());
  return true;
}

}  // namespace weir::wal
