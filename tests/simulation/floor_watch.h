// Sees that what is committed stays above the floors: rows below one are for
// retention to drop, so a commit that adds some would lose them, or leave them in
// a partition that is gone already.
//
//   FloorWatch watch(store);
//   ... anything that commits ...
//   if (watch.Passed()) ...
//
// Thread safety: thread-compatible; lives around one call of the store.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "common/testing/memory_store.h"

namespace weir::simulation {

class FloorWatch {
 public:
  explicit FloorWatch(test::MemoryStore& store) : store_(store) {
    // Copied, since holding the state would make the store copy all of it.
    const auto state = store.state();
    floors_ = state->floors;
    for (const store::SlotState& slot : state->slots) commit_numbers_.push_back(slot.commit_number);
  }

  // Whether a row was committed since that lies below the floors of then.
  bool Passed() const {
    const auto state = store_.state();
    bool committed = false;
    for (size_t slot = 0; slot < commit_numbers_.size(); ++slot) {
      committed = committed || state->slots[slot].commit_number != commit_numbers_[slot];
    }
    if (!committed) return false;
    for (size_t tier = 0; tier < floors_.size(); ++tier) {
      for (const auto& [start_seconds, rows] : state->partials[tier]) {
        if (start_seconds >= floors_[tier]) break;
        for (const auto& row : rows) {
          if (row.commit_number > commit_numbers_[static_cast<size_t>(row.slot)]) return true;
        }
      }
    }
    return false;
  }

 private:
  test::MemoryStore& store_;
  std::vector<int64_t> floors_;
  std::vector<int64_t> commit_numbers_;
};

}  // namespace weir::simulation
