// One life of an aggregator: the production core, its store jobs run by the
// production RunJob after a delay, as the store's thread would. A new life is a
// new node; an old one may go on for a while beside it.
//
// Thread safety: thread-compatible; one per run.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "common/testing/memory_store.h"
#include "services/aggregator/core.h"
#include "services/aggregator/jobs.h"
#include "tests/simulation/environment.h"
#include "tests/simulation/network.h"

namespace weir::simulation {

class AggregatorNode final : public Actor, public Endpoint {
 public:
  AggregatorNode(Environment& env, Network& network, test::MemoryStore& store, int number);
  ~AggregatorNode() override;

  void Start();
  // The process dies. A job that it gave to the store may run all the same.
  void Crash();
  // Flushes what it has, then ends by itself, or at the latest after a while.
  void Drain();

  void JumpClock(absl::Duration by) { clock_offset_ += by; }

  const std::string& name() const { return name_; }
  bool running() const { return running_; }
  bool idle() const { return !job_.has_value(); }
  const aggregator::Core& core() const { return core_; }
  std::string Describe() const;
  // Adds what the core counted to the run's tally. Call once, at the end.
  void Tally();

  void OnEvent(const Event& event) override;
  void OnLinkOpened(LinkId) override {}
  void OnLinkMessage(LinkId link, const Message& message) override;
  void OnLinkClosed(LinkId link) override;

 private:
  enum Kind { kTick, kRunJob, kJobDone, kEnd };
  // When a link had its first unanswered gap, and its last resume.
  struct Gap {
    absl::Time since = absl::InfiniteFuture();
    absl::Time resumed = absl::InfinitePast();
  };

  absl::Time Clock() const { return env_.now() + clock_offset_; }
  void Perform(aggregator::Actions actions);
  void RunJob();
  void WatchGaps(LinkId link, int64_t gaps_before);
  void Stop();

  Environment& env_;
  Network& network_;
  test::MemoryStore& store_;
  const std::string name_;
  aggregator::Core core_;
  absl::Duration clock_offset_;  // no two machines agree
  bool running_ = true;
  bool draining_ = false;
  std::optional<aggregator::Job> job_;           // on its way to the store
  std::optional<aggregator::JobResult> result_;  // and back
  std::map<LinkId, Gap> gaps_;
};

}  // namespace weir::simulation
