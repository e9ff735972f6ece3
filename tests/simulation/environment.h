// What every part of a simulated world shares: time, chance, the truth, and the
// tally of what happened.
//
// Thread safety: thread-compatible; one per run.
#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>

#include "absl/time/time.h"
#include "common/base/mutant.h"
#include "common/base/random.h"
#include "common/base/strings.h"
#include "tests/simulation/event_queue.h"
#include "tests/simulation/oracle.h"
#include "tests/simulation/profile.h"

namespace weir::simulation {

// How often things happened: a run in which one of them never did proves nothing
// about it.
struct Counts {
  int64_t crashes = 0;  // of any process, power losses included
  int64_t power_losses = 0;
  int64_t refused_commits = 0;
  int64_t in_doubt_committed = 0;
  int64_t in_doubt_aborted = 0;
  int64_t ghosts = 0;
  int64_t takeovers = 0;
  int64_t fencings = 0;
  int64_t drains = 0;
  int64_t pauses = 0;
  int64_t broken_links = 0;
  int64_t dark_links = 0;
  int64_t torn_tails = 0;
  int64_t fsync_failures = 0;
  int64_t rewinds = 0;  // batches a collector asked to be sent again
  int64_t gaps = 0;     // ranges an aggregator could not apply
  int64_t resumes = 0;
  int64_t repeats = 0;  // batches sent again that were known
  int64_t derives = 0;
  int64_t late_rows = 0;
  int64_t trims = 0;
  int64_t stalls = 0;
  int64_t clock_jumps = 0;
  int64_t store_outages = 0;
  int64_t full_disks = 0;
  int64_t dropped_messages = 0;
  int64_t completeness_checks = 0;
  int64_t acked_samples = 0;

  void Add(const Counts& other);
  std::string ToString() const;
  // The names of what never happened, with commas; empty when all did.
  std::string Missing() const;
};

class Environment {
 public:
  Environment(uint64_t seed, Mutant mutant_under_test, bool traced);

  absl::Time now() const { return queue.now(); }
  // An instant of the run, for people.
  double seconds() const { return absl::ToDoubleSeconds(now() - start); }

  absl::Duration Between(absl::Duration low, absl::Duration high) {
    const auto nanos = static_cast<uint64_t>(absl::ToInt64Nanoseconds(high - low));
    return low + absl::Nanoseconds(static_cast<int64_t>(random.Below(nanos + 1)));
  }
  // A healthy machine is quick, however slow it was.
  absl::Duration StoreTime() { return healed ? absl::Milliseconds(10) : profile.max_store_time; }
  absl::Duration SyncTime() { return healed ? absl::Milliseconds(5) : profile.max_sync_time; }
  absl::Duration NetworkDelay() {
    return healed ? absl::Milliseconds(2) : profile.max_network_delay;
  }

  bool Percent(int percent) { return static_cast<int>(random.Below(100)) < percent; }
  bool PerMille(int part) { return static_cast<int>(random.Below(1000)) < part; }

  // A promise other than the counts was broken.
  void Break(const std::string& what) {
    if (broken.empty()) broken = StrCat("at ", seconds(), " s: ", what);
    if (trace) Trace("BROKEN", what);
  }

  // Call only when `trace`: what happened, on standard error.
  template <typename... Parts>
  void Trace(const std::string& who, const Parts&... what) const {
    std::fprintf(stderr, "%10.6f  %-12s %s\n", seconds(), who.c_str(), StrCat(what...).c_str());
  }

  const absl::Time start;
  const Mutant mutant;
  const bool trace;
  Random random;
  const Profile profile;
  EventQueue queue;
  Oracle oracle;
  Counts counts;
  std::string broken;
  bool healed = false;  // no more faults, no more load
};

// The first instant of every run: on a boundary of every bin width.
inline absl::Time StartOfRun() { return absl::FromUnixSeconds(1'767'225'600); }

}  // namespace weir::simulation
