#include "tests/simulation/aggregator_node.h"

#include <utility>

#include "tests/simulation/floor_watch.h"

namespace weir::simulation {
namespace {

constexpr absl::Duration kTickInterval = absl::Milliseconds(50);
// The core answers a gap at once, or two seconds after its last answer.
constexpr absl::Duration kGapPatience = absl::Seconds(4);

}  // namespace

AggregatorNode::AggregatorNode(Environment& env, Network& network, test::MemoryStore& store,
                               int number)
    : env_(env),
      network_(network),
      store_(store),
      name_(StrCat("aggregator ", number)),
      core_({.owner = name_,
             .slot_count = env.profile.slot_count,
             .tiers = SimulatedTiers(),
             .flush_interval = absl::Milliseconds(200),
             .max_flush_interval = absl::Seconds(1),
             .flush_memory_bytes = env.profile.flush_memory_bytes,
             .window_bytes = env.profile.window_bytes,
             .derive_delay = absl::Milliseconds(500),
             .derive_step = absl::Minutes(1),
             .retention_interval = absl::Seconds(1),
             .silent_after = absl::Seconds(5),
             .min_retry_delay = absl::Milliseconds(20),
             .max_retry_delay = absl::Milliseconds(500),
             .mutant = env.mutant}),
      clock_offset_(env.Between(-absl::Seconds(3), absl::Seconds(3))) {}

AggregatorNode::~AggregatorNode() = default;

void AggregatorNode::Start() {
  if (env_.trace) env_.Trace(name_, "starts");
  Perform(core_.Start(Clock()));
  env_.queue.After(kTickInterval, *this, {.kind = kTick});
}

void AggregatorNode::Crash() {
  if (!running_) return;
  if (env_.trace) env_.Trace(name_, "crashes");
  ++env_.counts.crashes;
  // A request that has left the process may reach the store without it.
  if (job_.has_value() && !result_.has_value() && env_.random.OneIn(2)) job_.reset();
  Stop();
}

void AggregatorNode::Stop() {
  running_ = false;
  network_.Forget(*this);
}

void AggregatorNode::Tally() {
  env_.counts.gaps += core_.counts().gaps;
  env_.counts.derives += core_.counts().derives;
  env_.counts.late_rows += core_.counts().late_rows;
}

void AggregatorNode::Drain() {
  if (!running_ || draining_) return;
  if (env_.trace) env_.Trace(name_, "drains");
  draining_ = true;
  Perform(core_.Drain(Clock()));
  env_.queue.After(absl::Seconds(3), *this, {.kind = kEnd});
}

std::string AggregatorNode::Describe() const {
  return StrCat(name_, core_.claimed() ? ": claimed" : ": not claimed",
                job_.has_value() ? ", job running" : "", ", delta bytes ",
                core_.delta_memory_bytes());
}

void AggregatorNode::Perform(aggregator::Actions actions) {
  for (aggregator::Action& action : actions) {
    if (auto* send = std::get_if<aggregator::SendTo>(&action)) {
      if (std::holds_alternative<delivery::Resume>(send->message)) {
        ++env_.counts.resumes;
        gaps_[send->connection] = {.resumed = env_.now()};
        if (env_.trace) env_.Trace(name_, "resumes link ", send->connection);
      }
      network_.Send(send->connection, *this, std::move(send->message));
    } else if (auto* close = std::get_if<aggregator::CloseConnection>(&action)) {
      if (env_.trace) {
        env_.Trace(name_, "closes link ", close->connection, ": ", close->why.ToString());
      }
      // A superseded link is closed, and one that lost a message with definitions.
      const bool expected = absl::IsAborted(close->why) ||
                            (absl::IsDataLoss(close->why) && env_.profile.messages_dropped > 0);
      if (!expected) env_.Break(StrCat(name_, " refuses a stream: ", close->why.ToString()));
      network_.Break(close->connection);
    } else if (auto* run = std::get_if<aggregator::RunStoreJob>(&action)) {
      job_ = std::move(run->job);
      result_.reset();
      env_.queue.After(env_.Between(absl::Microseconds(50), env_.StoreTime()), *this,
                       {.kind = kRunJob});
    } else {
      ++env_.counts.fencings;
      if (env_.trace) env_.Trace(name_, "is fenced");
      if (running_) Stop();
      return;
    }
  }
}

void AggregatorNode::RunJob() {
  if (!job_.has_value()) return;
  const aggregator::JobContext context = {.store = store_,
                                          .tiers = SimulatedTiers(),
                                          .slot_count = env_.profile.slot_count,
                                          .tenant = "default",
                                          .retention_rows_per_step = 7,
                                          .max_retention_steps = 3,
                                          .derive_rows_per_job = env_.profile.derive_rows_per_job,
                                          .mutant = env_.mutant};
  const FloorWatch watch(store_);
  result_ = aggregator::RunJob(context, *job_);
  if (watch.Passed()) env_.Break(StrCat(name_, " has committed a row below a floor"));
  if (env_.trace) {
    env_.Trace(name_, "job ", job_->index(), ": ", result_->status.ToString(), ", rows ",
               result_->row_count, ", late ", result_->late_row_count);
  }
  if (result_->expired_sample_count > 0) env_.Break("samples expired that the oldest tier keeps");
  job_.reset();
  env_.queue.After(env_.Between(absl::ZeroDuration(), env_.StoreTime() / 4), *this,
                   {.kind = kJobDone});
}

void AggregatorNode::OnEvent(const Event& event) {
  // The store's thread goes on while the others are paused or dead.
  if (event.kind == kRunJob) {
    RunJob();
    return;
  }
  if (!running_) return;
  if (env_.now() < paused_until()) {
    env_.queue.At(paused_until(), *this, event);
    return;
  }
  switch (static_cast<Kind>(event.kind)) {
    case kRunJob:
      return;
    case kTick:
      if (draining_ && core_.drained()) {
        Stop();
        return;
      }
      env_.queue.After(kTickInterval, *this, event);
      Perform(core_.OnTick(Clock()));
      return;
    case kJobDone: {
      aggregator::JobResult result = *std::exchange(result_, std::nullopt);
      Perform(core_.OnJobDone(std::move(result), Clock()));
      return;
    }
    case kEnd:
      Stop();
      return;
  }
}

void AggregatorNode::OnLinkMessage(LinkId link, const Message& message) {
  if (!running_ || draining_) return;
  const delivery::FromCollector& from = std::get<ToAggregator>(message).message();
  const int64_t gaps_before = core_.counts().gaps;
  if (const auto* frame = std::get_if<delivery::Frame>(&from)) {
    Perform(core_.OnFrame(link, *frame, Clock()));
  } else if (const auto* heartbeat = std::get_if<delivery::Heartbeat>(&from)) {
    Perform(core_.OnHeartbeat(link, *heartbeat, Clock()));
  } else {
    Perform(core_.OnHello(link, std::get<delivery::Hello>(from), Clock()));
  }
  WatchGaps(link, gaps_before);
}

// A gap must be answered, or nothing would ever fill it.
void AggregatorNode::WatchGaps(LinkId link, int64_t gaps_before) {
  Gap& gap = gaps_[link];
  const absl::Time now = env_.now();
  if (core_.counts().gaps > gaps_before && now - gap.resumed > kGapPatience) {
    gap.since = std::min(gap.since, now);
  }
  if (now - gap.since > kGapPatience && network_.alive(link)) {
    env_.Break(StrCat(name_, " does not answer a gap on link ", link));
  }
}

void AggregatorNode::OnLinkClosed(LinkId link) {
  gaps_.erase(link);
  if (running_) Perform(core_.OnClosed(link, Clock()));
}

}  // namespace weir::simulation
