#include "tests/simulation/world.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "common/base/check.h"
#include "common/testing/memory_store.h"
#include "services/aggregator/query.h"
#include "tests/simulation/aggregator_node.h"
#include "tests/simulation/client_node.h"
#include "tests/simulation/collector_node.h"
#include "tests/simulation/floor_watch.h"
#include "tests/simulation/network.h"

namespace weir::simulation {
namespace {

using test::CommitFault;
using test::MemoryStore;

// How long a healthy world may go without getting anywhere while it drains, and
// how long that may take in all: small windows make for slow going.
constexpr absl::Duration kMaxStandstill = absl::Seconds(30);
constexpr absl::Duration kMaxDrainTime = absl::Minutes(10);
constexpr absl::Duration kSilentAfter = absl::Seconds(5);

class World final : public Actor, public Surroundings {
 public:
  World(uint64_t seed, Mutant mutant, bool trace);

  Outcome Run();

  void OnEvent(const Event& event) override;
  Endpoint* Aggregator() override;
  bool Owns(const Endpoint* aggregator) override;
  uint64_t CommittedLsn(const WalId& log, int slot) override;

 private:
  enum Kind { kFault, kHeal, kGhosts, kStoreUp, kNewAggregator, kCutOld, kQuery };

  CommitFault CommitFate();
  void StartAggregator();
  AggregatorNode* NewestRunning();
  void InjectFault();
  void Inject(Fault fault);
  void CheckCompleteness();
  void Heal();
  bool Settled();
  uint64_t Progress() const;
  bool Drain();
  std::string Describe();

  Environment env_;
  Network network_;
  std::unique_ptr<MemoryStore> store_;
  std::vector<std::unique_ptr<CollectorNode>> collectors_;
  std::vector<std::unique_ptr<AggregatorNode>> aggregators_;  // the newest last
  std::vector<std::unique_ptr<Client>> clients_;
};

World::World(uint64_t seed, Mutant mutant, bool trace) : env_(seed, mutant, trace), network_(env_) {
  auto store = MemoryStore::Create({.slot_count = env_.profile.slot_count,
                                    .tiers = SimulatedTiers(),
                                    .created_time = env_.start,
                                    .mutant = mutant});
  WEIR_CHECK_OK(store.status());
  store_ = *std::move(store);
  store_->set_fault_policy([this](const store::Transaction&) { return CommitFate(); });
  for (int i = 0; i < env_.profile.collector_count; ++i) {
    collectors_.push_back(std::make_unique<CollectorNode>(env_, network_, *this, i));
  }
  const auto resolver = [this](int client) {
    CollectorNode* const collector =
        collectors_[static_cast<size_t>(client) % collectors_.size()].get();
    return [collector]() -> Endpoint* { return collector->running() ? collector : nullptr; };
  };
  int number = 0;
  for (int i = 0; i < env_.profile.session_client_count; ++i, ++number) {
    clients_.push_back(std::make_unique<SessionClient>(env_, network_, resolver(number), number));
  }
  for (int i = 0; i < env_.profile.push_client_count; ++i, ++number) {
    clients_.push_back(
        std::make_unique<PushClient>(env_, network_, resolver(number), number, i % 2 == 0));
  }
}

// --- What collectors see -----------------------------------------------------

AggregatorNode* World::NewestRunning() {
  return aggregators_.back()->running() ? aggregators_.back().get() : nullptr;
}

Endpoint* World::Aggregator() {
  // A name may still resolve to the one before.
  if (!env_.healed && aggregators_.size() > 1 && env_.random.OneIn(4)) {
    AggregatorNode* const older = aggregators_[aggregators_.size() - 2].get();
    if (older->running()) return older;
  }
  return NewestRunning();
}

bool World::Owns(const Endpoint* aggregator) {
  return std::any_of(aggregators_.begin(), aggregators_.end(), [&](const auto& candidate) {
    return candidate.get() == aggregator && candidate->name() == store_->state()->owners[0];
  });
}

uint64_t World::CommittedLsn(const WalId& log, int slot) {
  const auto state = store_->state();
  const auto found = state->watermarks.find({slot, log});
  return found == state->watermarks.end() ? 0 : found->second.lsn;
}

// --- Faults ------------------------------------------------------------------

CommitFault World::CommitFate() {
  if (env_.healed) return CommitFault::kNone;
  const Profile& profile = env_.profile;
  if (env_.PerMille(profile.commits_refused)) {
    ++env_.counts.refused_commits;
    return CommitFault::kRefused;
  }
  if (env_.PerMille(profile.commits_answer_lost)) {
    ++env_.counts.in_doubt_committed;
    return CommitFault::kCommitted;
  }
  if (env_.PerMille(profile.commits_undone)) {
    ++env_.counts.in_doubt_aborted;
    return CommitFault::kNotCommitted;
  }
  if (env_.PerMille(profile.commits_ghost)) {
    ++env_.counts.ghosts;
    env_.queue.After(env_.Between(absl::Milliseconds(1), absl::Seconds(3)), *this,
                     {.kind = kGhosts});
    return CommitFault::kGhost;
  }
  return CommitFault::kNone;
}

void World::StartAggregator() {
  aggregators_.push_back(std::make_unique<AggregatorNode>(env_, network_, *store_,
                                                          static_cast<int>(aggregators_.size())));
  aggregators_.back()->Start();
}

void World::InjectFault() {
  int64_t choice =
      static_cast<int64_t>(env_.random.Below(static_cast<uint64_t>(env_.profile.fault_weight_sum)));
  for (int i = 0; i < kFaultCount; ++i) {
    choice -= env_.profile.fault_weights[i];
    if (choice < 0) {
      Inject(static_cast<Fault>(i));
      return;
    }
  }
}

void World::Inject(Fault fault) {
  CollectorNode& collector = *collectors_[env_.random.Below(collectors_.size())];
  AggregatorNode& aggregator = *aggregators_.back();
  const LinkId upstream = collector.upstream();
  const absl::Duration restart_delay = env_.Between(absl::Milliseconds(10), absl::Seconds(2));
  switch (fault) {
    case Fault::kCollectorCrash:
    case Fault::kPowerLoss:
      collector.Crash(fault == Fault::kPowerLoss);
      return;
    case Fault::kSyncFailure:
      collector.FailNextSync();
      return;
    case Fault::kAggregatorCrash:
      aggregator.Crash();
      env_.queue.After(restart_delay, *this, {.kind = kNewAggregator, .a = aggregators_.size()});
      return;
    case Fault::kTakeover:
      ++env_.counts.takeovers;
      StartAggregator();
      if (env_.trace) env_.Trace("world", "the aggregator before lives on");
      env_.queue.After(env_.Between(absl::ZeroDuration(), absl::Seconds(8)), *this,
                       {.kind = kCutOld, .a = aggregators_.size() - 2});
      return;
    case Fault::kGracefulRestart:
      ++env_.counts.drains;
      aggregator.Drain();
      env_.queue.After(restart_delay, *this, {.kind = kNewAggregator, .a = aggregators_.size()});
      return;
    case Fault::kConnectionBreak:
      if (network_.alive(upstream)) {
        ++env_.counts.broken_links;
        network_.Break(upstream);
      }
      return;
    case Fault::kHalfOpen:
      if (network_.alive(upstream)) {
        ++env_.counts.dark_links;
        const bool up = env_.random.OneIn(2);
        if (env_.trace) env_.Trace("world", "link ", upstream, " goes dark ", up ? "up" : "down");
        network_.Darken(upstream, up);
      }
      return;
    case Fault::kClientBreak:
      ++env_.counts.broken_links;
      clients_[env_.random.Below(clients_.size())]->BreakLink();
      return;
    case Fault::kStoreDown:
      ++env_.counts.store_outages;
      store_->set_unavailable(true);
      env_.queue.After(env_.Between(absl::Milliseconds(50), absl::Seconds(6)), *this,
                       {.kind = kStoreUp});
      return;
    case Fault::kDiskFull:
      ++env_.counts.full_disks;
      collector.FillDisk(env_.Between(absl::ZeroDuration(), absl::Seconds(4)));
      return;
    case Fault::kClockJump:
      ++env_.counts.clock_jumps;
      if (const absl::Duration by = env_.random.OneIn(4)
                                        ? env_.Between(-absl::Minutes(5), absl::Minutes(5))
                                        : env_.Between(-absl::Seconds(3), absl::Seconds(3));
          env_.random.OneIn(3)) {
        aggregator.JumpClock(by);
      } else {
        collector.JumpClock(by);
      }
      return;
    case Fault::kCollectorPause:
      ++env_.counts.pauses;
      collector.Pause(env_.now(), env_.Between(absl::ZeroDuration(), absl::Seconds(6)));
      return;
    case Fault::kAggregatorPause:
      ++env_.counts.pauses;
      aggregator.Pause(env_.now(), env_.Between(absl::ZeroDuration(), absl::Seconds(6)));
      return;
  }
}

void World::OnEvent(const Event& event) {
  switch (static_cast<Kind>(event.kind)) {
    case kFault:
      if (env_.healed) return;
      InjectFault();
      env_.queue.After(env_.Between(absl::ZeroDuration(), 2 * env_.profile.mean_fault_interval),
                       *this, event);
      return;
    case kHeal:
      Heal();
      return;
    case kGhosts: {
      const FloorWatch watch(*store_);
      store_->CommitGhosts();
      if (watch.Passed()) env_.Break("a ghost has committed a row below a floor");
      return;
    }
    case kStoreUp:
      store_->set_unavailable(false);
      return;
    case kNewAggregator:
      // Unless another was started since.
      if (aggregators_.size() == event.a) StartAggregator();
      return;
    case kCutOld:
      if (aggregators_[event.a]->running()) aggregators_[event.a]->Crash();
      return;
    case kQuery:
      CheckCompleteness();
      // A process that ended, because it was fenced for one, is started again.
      if (NewestRunning() == nullptr) {
        env_.queue.After(absl::Seconds(1), *this,
                         {.kind = kNewAggregator, .a = aggregators_.size()});
      }
      env_.queue.After(env_.Between(absl::Milliseconds(100), absl::Seconds(2)), *this, event);
      return;
  }
}

// --- What must hold ----------------------------------------------------------

// An answer never claims to be more complete than it is.
void World::CheckCompleteness() {
  // A stream that loses messages in its middle is none that the claim is about.
  if (env_.profile.messages_dropped > 0) return;
  const auto snapshot = store_->OpenSnapshot();
  if (!snapshot.ok()) return;
  const auto answer =
      aggregator::QueryWindow({.tenant = "default", .window = "1s", .name = "none"}, **snapshot,
                              SimulatedTiers(), env_.now(), {.silent_after = kSilentAfter});
  WEIR_CHECK_OK(answer.status());
  if (!answer->complete_until.has_value()) return;
  ++env_.counts.completeness_checks;
  const auto state = store_->state();
  for (const auto& collector : collectors_) {
    const bool missing = std::any_of(
        answer->missing.begin(), answer->missing.end(),
        [&](const aggregator::MissingLog& log) { return log.wal_id == collector->wal_id(); });
    // The store cannot speak for a log that it has never heard of.
    const bool known = state->watermarks.contains({0, collector->wal_id()});
    if (known && !missing && !collector->CompleteUntil(*answer->complete_until)) {
      env_.Break(StrCat("an answer claims to be complete until ",
                        absl::ToDoubleSeconds(*answer->complete_until - env_.start), " s, but ",
                        collector->Describe()));
    }
  }
}

void World::Heal() {
  env_.healed = true;
  if (env_.trace) env_.Trace("world", "no more load and faults");
  store_->set_unavailable(false);
}

bool World::Settled() {
  if (NewestRunning() == nullptr) return false;
  for (const auto& client : clients_) {
    if (!client->done()) return false;
  }
  for (const auto& collector : collectors_) {
    if (!collector->settled()) return false;
  }
  return store_->ghost_count() == 0;
}

uint64_t World::Progress() const {
  auto progress = static_cast<uint64_t>(env_.oracle.expected_count());
  for (const auto& collector : collectors_) progress += collector->committed_lsn();
  return progress;
}

bool World::Drain() {
  const absl::Time limit = env_.now() + kMaxDrainTime;
  absl::Time moved = env_.now();
  uint64_t progress = 0;
  while (!Settled()) {
    if (const uint64_t now = Progress(); now > progress) {
      progress = now;
      moved = env_.now();
    }
    if (!env_.broken.empty() || env_.now() - moved > kMaxStandstill || env_.now() > limit) {
      return false;
    }
    const absl::Time until = env_.now() + absl::Milliseconds(200);
    while (env_.queue.RunNext(until)) {
    }
  }
  return true;
}

std::string World::Describe() {
  std::string text = "stuck";
  for (const auto& client : clients_) StrAppend(&text, "; ", client->Describe());
  for (const auto& collector : collectors_) StrAppend(&text, "; ", collector->Describe());
  StrAppend(&text, "; ", aggregators_.back()->Describe(), "; ghosts ", store_->ghost_count());
  return text;
}

Outcome World::Run() {
  for (auto& collector : collectors_) collector->Start();
  StartAggregator();
  for (auto& client : clients_) client->Start();
  if (env_.profile.fault_weight_sum > 0) {
    env_.queue.After(env_.profile.mean_fault_interval, *this, {.kind = kFault});
  }
  env_.queue.After(absl::Seconds(1), *this, {.kind = kQuery});
  const absl::Time load_end = env_.start + env_.profile.load_time;
  while (env_.broken.empty() && env_.queue.RunNext(load_end)) {
  }
  Outcome outcome;
  if (env_.broken.empty()) {
    Heal();
    const bool drained = Drain();
    if (env_.broken.empty() && !drained) {
      outcome.stuck = true;
      outcome.why = Describe();
    }
  }
  if (env_.broken.empty() && !outcome.stuck) {
    // Derivation and retention catch up, and must not undo anything.
    const absl::Time end = env_.now() + env_.Between(absl::ZeroDuration(), absl::Seconds(10));
    while (env_.queue.RunNext(end)) {
    }
    const Verdict verdict = env_.oracle.Compare(*store_, SimulatedTiers(), env_.now());
    outcome.lost = verdict.lost;
    outcome.doubled = verdict.doubled;
    outcome.why = verdict.first;
  }
  if (!env_.broken.empty()) {
    outcome.broken = true;
    outcome.why = env_.broken;
  }
  for (auto& collector : collectors_) collector->Tally();
  for (auto& aggregator : aggregators_) aggregator->Tally();
  outcome.counts = env_.counts;
  return outcome;
}

}  // namespace

Outcome RunSeed(uint64_t seed, Mutant mutant, bool trace) {
  return World(seed, mutant, trace).Run();
}

}  // namespace weir::simulation
