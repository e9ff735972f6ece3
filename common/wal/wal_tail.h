// Whether the bytes after the last good record are an unfinished write or damage.
//
// A power loss may keep any subset of the sectors that were not synced, of
// several records at once, so a bad record with good ones behind it can still be
// the legal end of a log. What tells is proof that the bad record was durable
// once: every record, and the checkpoint, carries the durable_lsn of the moment
// it was written. With such a proof the bytes were damaged after they were
// durable; without one, no acknowledged record is known to be among them.
//
// Thread safety: pure functions.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "common/wal/segment_reader.h"

namespace weir::wal {

struct TailVerdict {
  uint64_t offset = 0;      // of the first bad record
  uint64_t lsn = 0;         // that it should have
  std::string why;          // what is wrong there
  bool damage = false;      // else torn
  uint64_t proven_lsn = 0;  // damage: something intact proves this lsn was durable
  // Torn, but without the marks of an unfinished write: an all-zero sector, or a
  // record that reaches beyond the end of the file.
  bool without_marks = false;
};

// Judges the last segment from where `reader` stands. `size` is the file's;
// `proven_lsn` what is known to have been durable without this segment.
// REQUIRES: reader.Next() has just returned kBad. Moves the reader.
absl::StatusOr<TailVerdict> JudgeTail(SegmentReader& reader, uint64_t size, uint64_t proven_lsn);

}  // namespace weir::wal
