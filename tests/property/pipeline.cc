#include "tests/property/pipeline.h"

#include <algorithm>
#include <bit>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "services/aggregator/query.h"

namespace weir::property {
namespace {

using aggregator::Actions;
using aggregator::FlushJob;
using aggregator::Job;
using aggregator::JobResult;

// Of the bins around those that hold something; gaps longer than twice this are
// left to CheckRows.
constexpr int64_t kMarginBins = 1;
// A range that begins so near the tier's floor is asked for from below it.
constexpr int64_t kNearBins = 20;

const std::vector<double> kQuantiles = {0, 0.5, 0.9, 0.99, 1};

std::vector<Kind> KindsOf(const Schedule& schedule) {
  std::vector<Kind> kinds;
  for (const Series& series : schedule.series) kinds.push_back(series.kind);
  return kinds;
}

std::string Text(absl::string_view text) { return std::string(text.data(), text.size()); }

}  // namespace

Pipeline::Pipeline(const Schedule& schedule, store::Store& store, Tally& tally)
    : schedule_(schedule),
      store_(store),
      tally_(tally),
      now_(schedule.start),
      blocks_(schedule.slot_count),
      model_(KindsOf(schedule), schedule.cumulative) {
  for (const Series& series : schedule.series) {
    AppendSeries(series, &series_bytes_.emplace_back());
    series_ids_.push_back(IdOfSeries(series));
  }
  for (int i = 0; i < schedule.log_count; ++i) {
    Log& log = logs_.emplace_back();
    log.id = {.high = schedule.seed, .low = static_cast<uint64_t>(i) + 1};
    log.slot_last.resize(static_cast<size_t>(schedule.slot_count), 0);
    log.defined.resize(schedule.series.size(), false);
  }
}

Pipeline::~Pipeline() = default;

std::string Pipeline::Run() {
  ++tally_.cases;
  StartAggregator();
  RunPendingJob(Outcome::kDone);
  for (size_t i = 0; i < schedule_.steps.size() && failure_.empty(); ++i) {
    RunStep(schedule_.steps[i]);
    if (!failure_.empty()) failure_ = absl::StrCat("step ", i, ": ", failure_);
  }
  StopAggregator();
  return failure_;
}

void Pipeline::RunStep(const Step& step) {
  Log& log = logs_[static_cast<size_t>(step.log)];
  switch (step.what) {
    case Step::What::kFrame:
      return AppendFrame(step);
    case Step::What::kWait:
      now_ += step.wait;
      return Perform(core_->OnTick(now_));
    case Step::What::kHeartbeat:
      if (log.resumed) Perform(core_->OnHeartbeat(log.connection, {.time = now_}, now_));
      return;
    case Step::What::kJob:
      return RunPendingJob(step.outcome);
    case Step::What::kSettle:
      return Settle(step.count);
    case Step::What::kReconnect:
      HangUp(log);
      return Connect(log);
    case Step::What::kHangUp:
      return HangUp(log);
    case Step::What::kCrash:
      return Crash(step.last_job);
    case Step::What::kRestart:
      return Restart();
    case Step::What::kRetire:
      if (const JobResult result = RunJob(aggregator::RetentionJob{.now = now_});
          !result.status.ok()) {
        Fail(absl::StrCat("retention: ", result.status.ToString()));
      }
      return;
    case Step::What::kCheck:
      return Check();
  }
}

// --- The collector's side ------------------------------------------------------

void Pipeline::AppendFrame(const Step& step) {
  Log& log = logs_[static_cast<size_t>(step.log)];
  if (step.new_segment) {
    ++log.segment;
    std::fill(log.defined.begin(), log.defined.end(), false);
  }
  collector::AdmittedBatch batch;
  std::vector<std::vector<frame::Definition>> definitions(
      static_cast<size_t>(schedule_.slot_count));
  blocks_.Clear();
  for (const Sent& sent : step.sent) {
    const auto number = static_cast<size_t>(sent.series);
    const int slot = SlotOf(series_ids_[number], schedule_.slot_count);
    collector::AdmittedSample sample = {.event_unix_nano = sent.time_unix_nano,
                                        .bits = 0,
                                        .series = static_cast<uint32_t>(sent.series),
                                        .slot = static_cast<uint16_t>(slot),
                                        .type = frame::ValueType::kPoint};
    if (sent.as_point) {
      const size_t begin = batch.points.size();
      AppendPoint(sent.point, &batch.points);
      sample.bits = uint64_t{begin} << 32 | (batch.points.size() - begin);
    } else if (const auto* integer = std::get_if<int64_t>(&sent.point.value)) {
      sample.type = frame::ValueType::kInteger;
      sample.bits = static_cast<uint64_t>(*integer);
    } else {
      sample.type = frame::ValueType::kFloat;
      sample.bits = std::bit_cast<uint64_t>(std::get<double>(sent.point.value));
    }
    blocks_.Add(sample, batch);
    if (!log.defined[number]) {
      log.defined[number] = true;
      definitions[static_cast<size_t>(slot)].push_back(
          {.number = sample.series, .series = series_bytes_[number]});
    }
  }
  blocks_.Finish();
  log.last_lsn += 1 + log.frames.size() % 2;
  std::vector<frame::SubframeParts> parts;
  for (int slot = 0; slot < schedule_.slot_count; ++slot) {
    if (blocks_.sample_count(slot) == 0) continue;
    uint64_t& last = log.slot_last[static_cast<size_t>(slot)];
    parts.push_back({.slot = slot,
                     .previous_lsn = std::exchange(last, log.last_lsn),
                     .sample_count = blocks_.sample_count(slot),
                     .definitions = std::move(definitions[static_cast<size_t>(slot)]),
                     .blocks = blocks_.blocks(slot)});
  }
  if (parts.empty()) return;  // every point was left out to shorten a failure
  LoggedFrame& logged = log.frames.emplace_back();
  logged.lsn = log.last_lsn;
  logged.segment = log.segment;
  logged.sent = step.sent;
  frame::AppendFrame(now_, {}, parts, &logged.payload);
  absl::StatusOr<frame::FrameView> view = frame::ParseFrame(logged.payload);
  if (!view.ok()) return Fail(view.status().ToString());
  logged.view = *std::move(view);
  if (!log.open) return Connect(log);
  if (log.resumed) Deliver(log, log.frames.size() - 1, nullptr);
}

void Pipeline::Connect(Log& log) {
  log.connection = ++last_connection_;
  log.open = true;
  log.resumed = false;
  Perform(
      core_->OnHello(log.connection, {.wal_id = log.id, .slot_count = schedule_.slot_count}, now_));
}

void Pipeline::HangUp(Log& log) {
  if (log.open) Perform(core_->OnClosed(log.connection, now_));
  log.open = log.resumed = false;
}

// Sends the segment again from its beginning, without the samples that the core
// has, as a collector does.
void Pipeline::Resume(Log& log, const delivery::Resume& resume) {
  std::vector<uint64_t> applied(static_cast<size_t>(schedule_.slot_count), 0);
  for (const delivery::SlotPosition& slot : resume.slots) {
    applied[static_cast<size_t>(slot.slot)] = slot.applied_lsn;
  }
  std::vector<uint64_t> expected(applied.size(), 0);
  for (size_t i = 0; i < log.folded; ++i) {
    for (const frame::Range& range : log.frames[i].view.ranges) {
      expected[static_cast<size_t>(range.slot)] = log.frames[i].lsn;
    }
  }
  if (applied != expected) return Fail("the core is not where the model is");
  log.resumed = true;
  size_t first = log.folded;
  const uint64_t segment = first < log.frames.size() ? log.frames[first].segment : log.segment;
  while (first > 0 && log.frames[first - 1].segment == segment) --first;
  for (size_t i = first; i < log.frames.size(); ++i) Deliver(log, i, &applied);
}

// Delivers the frame; the ranges in `applied` as definitions alone.
void Pipeline::Deliver(Log& log, size_t index, const std::vector<uint64_t>* applied) {
  if (!log.resumed || !failure_.empty()) return;
  const LoggedFrame& logged = log.frames[index];
  delivery::Frame sent = {
      .lsn = logged.lsn, .segment = logged.segment, .seal_time = logged.view.seal_time};
  std::deque<std::string> definitions;
  for (const frame::Range& range : logged.view.ranges) {
    delivery::SlotRange to = {
        .slot = range.slot, .previous_lsn = range.previous_lsn, .subframe = range.subframe};
    if (applied != nullptr && logged.lsn <= (*applied)[static_cast<size_t>(range.slot)]) {
      absl::StatusOr<std::string> only = frame::DefinitionsOnly(range.subframe);
      if (!only.ok()) return Fail(only.status().ToString());
      if (only->empty()) continue;
      to.subframe = definitions.emplace_back(*std::move(only));
      to.definitions_only = true;
    }
    sent.ranges.push_back(to);
  }
  if (sent.ranges.empty()) return;
  ++tally_.frames;
  if (index == log.folded) {
    ++log.folded;
    for (const Sent& point : logged.sent) model_.Fold(point);
    tally_.points += static_cast<int64_t>(logged.sent.size());
  }
  Perform(core_->OnFrame(log.connection, sent, now_));
}

// --- The aggregator's side -----------------------------------------------------

aggregator::JobContext Pipeline::Context() {
  return {.store = store_,
          .tiers = tiers_,
          .slot_count = schedule_.slot_count,
          .tenant = "t",
          .retention_rows_per_step = schedule_.retention_rows_per_step,
          .max_retention_steps = 100,
          .derive_rows_per_job = schedule_.derive_rows_per_job};
}

void Pipeline::StartAggregator() {
  aggregator::CoreOptions options;
  options.slot_count = schedule_.slot_count;
  options.tiers = tiers_;
  options.cumulative = {.max_first_age = schedule_.cumulative.max_first_age,
                        .max_starts = schedule_.cumulative.max_starts};
  options.derive_delay = schedule_.derive_delay;
  options.derive_step = schedule_.derive_step;
  options.retention_interval = schedule_.retention_interval;
  core_ = std::make_unique<aggregator::Core>(options);
  model_.GoBack(committed_);
  taken_.reset();
  unfinished_expired_ = finished_expired_ = flushes_finished_ = 0;
  for (Log& log : logs_) {
    log.open = log.resumed = false;
    log.folded = log.taken = log.committed;
  }
  Perform(core_->Start(now_));
}

void Pipeline::StopAggregator() {
  CompareCounts();
  const aggregator::CoreCounts& counts = core_->counts();
  tally_.flushes += counts.flushes;
  tally_.derives += counts.derives;
  tally_.late_rows += counts.late_rows;
  tally_.expired += counts.expired_samples;
  tally_.in_doubt_committed += counts.conflicts_committed;
  tally_.resets += counts.cumulative_resets;
  tally_.baselines += counts.cumulative_baselines;
  tally_.late_points += counts.cumulative_late;
  tally_.increases += model_.counts().increases;
  tally_.firsts += model_.counts().firsts;
}

void Pipeline::Crash(LastJob last_job) {
  ++tally_.crashes;
  StopAggregator();
  std::optional<Job> last = std::exchange(job_, std::nullopt);
  // A claim that comes late takes the slots from the next one, as it may.
  if (last.has_value() && std::holds_alternative<aggregator::ClaimJob>(*last)) last.reset();
  if (last.has_value() && last_job == LastJob::kBefore) RunJob(*last);
  const auto replaced = std::move(core_);  // whose series the job names
  StartAggregator();
  RunPendingJob(Outcome::kDone);
  if (last.has_value() && last_job == LastJob::kAfter) {
    const JobResult result = RunJob(*last);
    const bool writes = std::holds_alternative<FlushJob>(*last) ||
                        std::holds_alternative<aggregator::DeriveJob>(*last);
    if (writes && !absl::IsAborted(result.status)) {
      return Fail("a job of an aggregator that was replaced has committed");
    }
    tally_.fenced_off += writes ? 1 : 0;
  }
  for (Log& log : logs_) Connect(log);
}

void Pipeline::Restart() {
  Perform(core_->Drain(now_));
  for (int i = 0; i < 100 && !core_->drained(); ++i) {
    RunPendingJob(Outcome::kDone);
    now_ += absl::Seconds(1);
    Perform(core_->OnTick(now_));
  }
  if (!core_->drained()) return Fail("it does not drain");
  Crash(LastJob::kNever);
}

void Pipeline::Perform(Actions actions) {
  for (aggregator::Action& action : actions) {
    if (!failure_.empty()) return;
    if (auto* run = std::get_if<aggregator::RunStoreJob>(&action)) {
      if (job_.has_value()) return Fail("two jobs at once");
      NoticeJob(run->job);
      job_ = std::move(run->job);
    } else if (auto* send = std::get_if<aggregator::SendTo>(&action)) {
      const auto* resume = std::get_if<delivery::Resume>(&send->message);
      if (resume == nullptr) continue;
      for (Log& log : logs_) {
        if (log.open && log.connection == send->connection) Resume(log, *resume);
      }
    } else if (auto* close = std::get_if<aggregator::CloseConnection>(&action)) {
      return Fail(absl::StrCat("a stream is closed: ", close->why.ToString()));
    } else {
      return Fail("the core believes it is fenced");
    }
  }
}

// The first time that a flush is asked for, it has taken all there is.
void Pipeline::NoticeJob(const Job& job) {
  const auto* flush = std::get_if<FlushJob>(&job);
  if (flush == nullptr || flush->rerun) return;
  taken_ = model_.Here();
  for (Log& log : logs_) log.taken = log.folded;
}

JobResult Pipeline::RunJob(const Job& job) {
  JobResult result = aggregator::RunJob(Context(), job);
  if (std::holds_alternative<FlushJob>(job) && result.status.ok()) NoticeCommit(result);
  if (std::holds_alternative<aggregator::ClaimJob>(job)) {
    tally_.restored_points += static_cast<int64_t>(result.cumulatives.size());
  }
  return result;
}

// A flush has committed, whoever will hear of it.
void Pipeline::NoticeCommit(const JobResult& result) {
  if (!taken_.has_value()) return Fail("a flush has committed twice");
  // It has not moved them.
  const auto snapshot = store_.OpenSnapshot();
  const auto floors = snapshot.ok() ? (*snapshot)->Floors() : snapshot.status();
  if (!floors.ok()) return Fail(floors.status().ToString());
  int64_t expired = 0;
  for (size_t i = committed_.contributions; i < taken_->contributions; ++i) {
    const Contribution& added = model_.contributions()[i];
    const int64_t start = AlignDown(SecondsOfNanos(added.time_unix_nano), tiers_[0].bin_seconds);
    const bool kept =
        std::any_of(floors->begin(), floors->end(), [&](int64_t floor) { return start >= floor; });
    expired += kept ? 0 : added.count;
  }
  if (result.expired_sample_count != expired) {
    return Fail(absl::StrCat(result.expired_sample_count, " samples expired, not ", expired));
  }
  unfinished_expired_ += expired;
  committed_ = *std::exchange(taken_, std::nullopt);
  for (Log& log : logs_) log.committed = log.taken;
}

void Pipeline::RunPendingJob(Outcome outcome) {
  if (!job_.has_value() || !failure_.empty()) return;
  const Job job = *std::exchange(job_, std::nullopt);
  JobResult result;
  if (outcome != Outcome::kNotRun) {
    result = RunJob(job);
    if (!result.status.ok() && !absl::IsAborted(result.status)) {
      return Fail(absl::StrCat("job ", job.index(), ": ", result.status.ToString()));
    }
  }
  // A reply that tells of a conflict is of no use to those who lose it.
  if (outcome != Outcome::kDone) result.status = absl::UnavailableError("nobody knows");
  Perform(core_->OnJobDone(std::move(result), now_));
  if (core_->counts().flushes != std::exchange(flushes_finished_, core_->counts().flushes)) {
    finished_expired_ += std::exchange(unfinished_expired_, 0);
  }
}

void Pipeline::Settle(int count) {
  int quiet = 0;
  while (count > 0 && quiet < 12 && failure_.empty()) {
    if (job_.has_value()) {
      RunPendingJob(Outcome::kDone);
      --count;
      quiet = 0;
      continue;
    }
    now_ += absl::Seconds(1);
    ++quiet;
    Perform(core_->OnTick(now_));
  }
}

// --- The comparison ------------------------------------------------------------

void Pipeline::CompareCounts() {
  const aggregator::CoreCounts& counts = core_->counts();
  const auto compare = [&](const char* name, int64_t is, int64_t expected) {
    if (is != expected) Fail(absl::StrCat(name, ": counted ", is, ", not ", expected));
  };
  compare("resets", counts.cumulative_resets, model_.counts().resets);
  compare("baselines", counts.cumulative_baselines, model_.counts().baselines);
  compare("late points", counts.cumulative_late, model_.counts().late);
  compare("expired samples", counts.expired_samples, finished_expired_);
  compare("damaged rows", counts.damaged_cumulatives, 0);
}

void Pipeline::Check() {
  CompareCounts();
  auto snapshot = store_.OpenSnapshot();
  if (!snapshot.ok()) return Fail(snapshot.status().ToString());
  const auto floors = (*snapshot)->Floors();
  if (!floors.ok()) return Fail(floors.status().ToString());
  for (int tier = 0; tier < tiers_.size(); ++tier) {
    const int64_t floor = (*floors)[static_cast<size_t>(tier)];
    CheckTier(tier, **snapshot, floor);
    if (tier == 0) continue;
    for (size_t i = 0; i < committed_.contributions; ++i) {
      const int64_t time = SecondsOfNanos(model_.contributions()[i].time_unix_nano);
      tally_.retired_bins += time < (*floors)[static_cast<size_t>(tier) - 1] && time >= floor;
    }
  }
}

void Pipeline::CheckTier(int tier, store::Snapshot& snapshot, int64_t floor_seconds) {
  CheckRows(tier, snapshot, floor_seconds);
  std::set<std::pair<std::string, Kind>> metrics;
  for (const Series& series : schedule_.series) metrics.emplace(series.name, series.kind);
  for (const auto& [name, kind] : metrics) {
    CheckMetric(tier, name, kind, snapshot, floor_seconds, /*grouped=*/false);
    if (tier == static_cast<int>(schedule_.seed % static_cast<uint64_t>(tiers_.size()))) {
      CheckMetric(tier, name, kind, snapshot, floor_seconds, /*grouped=*/true);
    }
    if (!failure_.empty()) return;
  }
}

// No row of the tier is where the model has nothing.
void Pipeline::CheckRows(int tier, store::Snapshot& snapshot, int64_t floor_seconds) {
  std::set<std::pair<int64_t, SeriesId>> known;
  const int64_t width = tiers_[tier].bin_seconds;
  for (size_t i = 0; i < committed_.contributions; ++i) {
    const Contribution& added = model_.contributions()[i];
    known.emplace(AlignDown(SecondsOfNanos(added.time_unix_nano), width),
                  series_ids_[static_cast<size_t>(added.series)]);
  }
  const absl::Status read = snapshot.ReadPartials(
      {.tier = tier, .start_seconds = floor_seconds, .end_seconds = int64_t{1} << 36},
      [&](const store::PartialRow& row) {
        return known.contains({row.start_seconds, row.series_id})
                   ? absl::OkStatus()
                   : absl::InternalError(absl::StrCat("a row of tier ", tier, " at ",
                                                      row.start_seconds, ", where nothing was"));
      });
  if (!read.ok()) Fail(Text(read.message()));
}

void Pipeline::CheckMetric(int tier, const std::string& name, Kind kind, store::Snapshot& snapshot,
                           int64_t floor_seconds, bool grouped) {
  const int64_t width = tiers_[tier].bin_seconds;
  // Series (or -1 for all of them) and bin -> what is in it.
  std::map<std::pair<int, int64_t>, std::vector<const Contribution*>> bins;
  std::set<int64_t> starts;
  for (size_t i = 0; i < committed_.contributions; ++i) {
    const Contribution& added = model_.contributions()[i];
    if (schedule_.series[static_cast<size_t>(added.series)].name != name) continue;
    const int64_t start = AlignDown(SecondsOfNanos(added.time_unix_nano), width);
    // Retention drops whole bins, and an answer begins at the first that is kept.
    if (start < floor_seconds) continue;
    bins[{grouped ? -1 : added.series, start}].push_back(&added);
    starts.insert(start);
  }

  aggregator::WindowQuery query = {.tenant = "t", .window = tiers_[tier].window, .name = name};
  if (grouped) query.group_by.emplace();
  if (kind == Kind::kDistribution) query.quantiles = kQuantiles;
  static const std::vector<Contribution const*> kNothing;
  for (auto start = starts.begin(); start != starts.end() && failure_.empty();) {
    int64_t begin = *start - kMarginBins * width;
    // Also asks for what is no longer kept.
    if (begin - floor_seconds < kNearBins * width) begin = floor_seconds - 2 * width;
    int64_t end = *start;
    for (; start != starts.end() && *start <= end + 2 * kMarginBins * width; ++start) end = *start;
    end += (kMarginBins + 1) * width;
    query.start_time = absl::FromUnixSeconds(begin);
    query.end_time = absl::FromUnixSeconds(end);
    const auto answer = aggregator::QueryWindow(query, snapshot, tiers_, now_, {});
    const auto where = [&](int64_t bin) {
      return absl::StrCat("window ", tiers_[tier].window, grouped ? " of all " : " of ", name,
                          ", bin ",
                          absl::FormatTime(absl::FromUnixSeconds(bin), absl::UTCTimeZone()));
    };
    if (!answer.ok()) return Fail(absl::StrCat(where(begin), ": ", answer.status().ToString()));
    const int64_t first_shown = std::max(begin, floor_seconds);
    if (answer->start_seconds != first_shown || answer->end_seconds != end) {
      return Fail(absl::StrCat(where(begin), ": the answer covers other bins"));
    }
    // Those of each series that answered; one that did not has nothing.
    std::map<int, const aggregator::SeriesAnswer*> answers;
    for (const aggregator::SeriesAnswer& series : answer->series) {
      answers[grouped ? -1 : std::stoi(series.labels.at(0).value)] = &series;
    }
    for (const auto& [key, bin] : bins) {
      if (key.second >= begin && key.second < end && !answers.contains(key.first)) {
        return Fail(absl::StrCat(where(key.second), ": series ", key.first, " is missing"));
      }
    }
    for (const auto& [series, said] : answers) {
      for (size_t i = 0; i < said->bins.size(); ++i) {
        const int64_t at = first_shown + static_cast<int64_t>(i) * width;
        const auto found = bins.find({series, at});
        const auto& expected = found == bins.end() ? kNothing : found->second;
        const aggregator::BinAnswer& bin = said->bins[i];
        const std::string wrong = Disagreement({.aggregate = bin.aggregate,
                                                .quantiles = bin.quantiles,
                                                .relative_error = bin.relative_error},
                                               expected, query.quantiles);
        if (!wrong.empty()) {
          return Fail(absl::StrCat(where(at), ", series ", series, ": ", wrong));
        }
        tally_.bins += expected.empty() ? 0 : 1;
        tally_.quantiles += static_cast<int64_t>(bin.quantiles.size());
      }
    }
  }
}

}  // namespace weir::property
