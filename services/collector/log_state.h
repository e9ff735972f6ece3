// What a prefix of the log amounts to: the last lsn of each slot, and the
// sessions that must still be recognised.
//
// It is a function of the frames up to one lsn and of nothing else. The
// collector keeps it for two prefixes: up to the trim point, which is what the
// checkpoint holds, and, at recovery, up to the end. A checkpoint that held the
// sessions of a later lsn would, after a power loss that takes the tail, take
// retries of lost batches for repeats.
//
// Thread safety: values, thread-compatible.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/frame/frame.h"

namespace weir::collector {

struct SessionEntry {
  uint64_t sequence = 0;  // the highest
  frame::Lifetime lifetime = frame::Lifetime::kSession;
  absl::Time last_time;  // the seal time of the frame with it
};

using SessionTable = absl::flat_hash_map<frame::SessionId, SessionEntry>;

// How long an idle session is recognised.
struct SessionLifetimes {
  absl::Duration session = absl::Hours(24);
  absl::Duration key = absl::Hours(1);
  absl::Duration content = absl::Minutes(10);

  absl::Duration Of(frame::Lifetime lifetime) const {
    switch (lifetime) {
      case frame::Lifetime::kSession:
        return session;
      case frame::Lifetime::kKey:
        return key;
      case frame::Lifetime::kContent:
        return content;
    }
    return session;
  }
  bool Expired(const SessionEntry& entry, absl::Time now) const {
    return now - entry.last_time > Of(entry.lifetime);
  }
};

struct LogState {
  explicit LogState(int slot_count) : slot_last(static_cast<size_t>(slot_count), 0) {}

  std::vector<uint64_t> slot_last;  // per slot, 0 for none
  SessionTable sessions;
  absl::Time last_seal_time = absl::InfinitePast();

  // Adds the frame with the next lsn.
  // Errors: DataLoss when it names a slot out of range.
  absl::Status Apply(uint64_t lsn, const frame::FrameView& frame);

  // docs/formats/wal.md, "The collector's checkpoint state".
  std::string Encode() const;
  // Errors: DataLoss; FailedPrecondition for another slot count.
  static absl::StatusOr<LogState> Decode(std::string_view bytes, int slot_count);
};

}  // namespace weir::collector
