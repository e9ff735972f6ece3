// What a collector's sender and an aggregator's receiver say to each other, as
// plain values: the state machines on both sides, and the simulation, speak
// these; wire.h turns them into weir.peer.v1 messages.
//
// Conversation, one stream per (log, aggregator):
//
//   collector                      aggregator
//   Hello            ------------>
//                    <------------ Resume      where each slot is
//   Frame, Frame ... ------------>             folded in order
//   Heartbeat        ------------>             also when idle
//                    <------------ Ack         after a commit
//                    <------------ Resume      after a gap
//
// Thread safety: values, thread-compatible.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "common/base/id128.h"

namespace weir::delivery {

struct Hello {
  WalId wal_id;
  int slot_count = 0;
  uint64_t durable_lsn = 0;
  uint64_t trim_lsn = 0;
  std::string collector;  // for people
};

// A slot's part of a frame. The views belong to whoever made the message and
// live as long as the call that hands it over.
struct SlotRange {
  int slot = 0;
  uint64_t previous_lsn = 0;
  std::string_view subframe;
  // The samples were left out because the aggregator has them.
  bool definitions_only = false;
};

struct Frame {
  uint64_t lsn = 0;
  uint64_t segment = 0;
  absl::Time seal_time;
  std::vector<SlotRange> ranges;  // ascending by slot
};

struct Heartbeat {
  // Everything the collector acknowledged before it is in frames sent already on
  // this stream; infinite past while the collector is still catching up.
  absl::Time time = absl::InfinitePast();
};

struct SlotPosition {
  int slot = 0;
  int64_t epoch = 0;
  uint64_t committed_lsn = 0;
  uint64_t applied_lsn = 0;  // at least committed_lsn
  friend bool operator==(const SlotPosition&, const SlotPosition&) = default;
};

struct Resume {
  std::vector<SlotPosition> slots;
  int64_t window_bytes = 0;
};

struct Ack {
  std::vector<SlotPosition> slots;
};

using FromCollector = std::variant<Hello, Frame, Heartbeat>;
using FromAggregator = std::variant<Resume, Ack>;

// What a frame counts against the window: its subframes' bytes and a little
// per range, the same on both sides.
inline int64_t FrameCost(const Frame& frame) {
  int64_t cost = 64;
  for (const SlotRange& range : frame.ranges) {
    cost += 16 + static_cast<int64_t>(range.subframe.size());
  }
  return cost;
}

}  // namespace weir::delivery
