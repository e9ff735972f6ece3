// Virtual time: what happens next, and to whom.
//
// Invariant: events of one time happen in the order in which they were asked for,
// so a run is a function of its seed.
//
// Thread safety: thread-compatible; one per run.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "absl/time/time.h"

namespace weir::simulation {

struct Event {
  // What `kind`, `a` and `b` mean is the actor's own business.
  int kind = 0;
  uint64_t a = 0;
  uint64_t b = 0;
};

class Actor {
 public:
  virtual ~Actor() = default;
  virtual void OnEvent(const Event& event) = 0;
};

class EventQueue {
 public:
  explicit EventQueue(absl::Time start) : now_(start) {}

  absl::Time now() const { return now_; }

  // REQUIRES: `actor` outlives the queue's use.
  void After(absl::Duration delay, Actor& actor, Event event) { At(now_ + delay, actor, event); }
  void At(absl::Time time, Actor& actor, Event event) {
    heap_.push_back({std::max(time, now_), next_order_++, &actor, event});
    std::push_heap(heap_.begin(), heap_.end(), Later);
  }

  // Moves time to the next event, if it is not after `limit`, and makes it happen.
  bool RunNext(absl::Time limit) {
    if (heap_.empty() || heap_.front().time > limit) {
      now_ = std::max(now_, limit);
      return false;
    }
    std::pop_heap(heap_.begin(), heap_.end(), Later);
    const Entry next = heap_.back();
    heap_.pop_back();
    now_ = next.time;
    next.actor->OnEvent(next.event);
    return true;
  }

 private:
  struct Entry {
    absl::Time time;
    uint64_t order;
    Actor* actor;
    Event event;
  };
  static bool Later(const Entry& a, const Entry& b) {
    return a.time != b.time ? a.time > b.time : a.order > b.order;
  }

  absl::Time now_;
  uint64_t next_order_ = 0;
  std::vector<Entry> heap_;
};

}  // namespace weir::simulation
