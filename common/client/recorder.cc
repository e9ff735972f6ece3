// The threads of a recorder: any number that record, and the stream client's
// loop, which owns the core. They meet in the SampleBuffer, and under mu_ for
// what Flush waits for and stats() returns.
#include "common/client/recorder.h"

#include <algorithm>
#include <array>
#include <bit>
#include <random>
#include <utility>

#include "absl/strings/str_join.h"
#include "common/base/check.h"
#include "common/base/mutex.h"
#include "common/base/strings.h"
#include "common/client/process_usage.h"
#include "common/client/recorder_core.h"
#include "common/client/sample_buffer.h"
#include "common/client/series_registry.h"
#include "common/client/wire.h"
#include "common/rpc/stream_client.h"

namespace weir::client {
namespace {

constexpr std::string_view kDroppedMetric = "weir_client_dropped_samples_total";

uint64_t RandomWord() {
  std::random_device device;
  return uint64_t{device()} << 32 | device();
}

SessionId RandomSessionId() { return {.high = RandomWord(), .low = RandomWord()}; }

RecorderCoreOptions CoreOptions(const RecorderOptions& options, const SeriesRegistry& registry) {
  RecorderCoreOptions core;
  core.max_batch_samples = options.max_batch_samples;
  core.definition_bytes = [&registry](uint32_t series) { return registry.DefinitionBytes(series); };
  core.session = {.max_in_flight_batches = options.max_in_flight_batches,
                  .min_reconnect_delay = options.min_reconnect_delay,
                  .max_reconnect_delay = options.max_reconnect_delay,
                  .draw_id = RandomSessionId,
                  .seed = RandomWord()};
  return core;
}

std::string Summary(const std::map<std::string, int64_t>& counts) {
  return absl::StrJoin(counts, ", ", [](std::string* out, const auto& item) {
    StrAppend(out, item.second, " ", item.first);
  });
}

}  // namespace

std::string_view DropReasonName(DropReason reason) {
  switch (reason) {
    case DropReason::kBufferFull:
      return "buffer_full";
    case DropReason::kSeriesInvalid:
      return "series_invalid";
    case DropReason::kTooManySeries:
      return "too_many_series";
    case DropReason::kSessionLost:
      return "session_lost";
    case DropReason::kRefused:
      return "refused";
    case DropReason::kStopped:
      return "stopped";
  }
  WEIR_CHECK_MSG(false, "no such reason");
}

absl::Status RecorderOptions::Validate() const {
  const auto in = [](std::string_view field, int64_t value, int64_t first, int64_t last) {
    if (value >= first && value <= last) return absl::OkStatus();
    return absl::InvalidArgumentError(
        StrCat(field, ": ", value, "; allowed are ", first, " to ", last));
  };
  if (target.empty()) return absl::InvalidArgumentError("target: is empty");
  if (max_batch_delay < absl::Milliseconds(1) || max_batch_delay > absl::Hours(1)) {
    return absl::InvalidArgumentError("max_batch_delay: allowed are 1 ms to 1 h");
  }
  if (min_reconnect_delay < absl::Milliseconds(1) || max_reconnect_delay < min_reconnect_delay ||
      max_reconnect_delay > absl::Minutes(1)) {
    return absl::InvalidArgumentError(
        "min_reconnect_delay, max_reconnect_delay: allowed are 1 ms to 1 min, in this order");
  }
  if (process_usage_interval < absl::ZeroDuration()) {
    return absl::InvalidArgumentError("process_usage_interval: is below 0");
  }
  SeriesRegistry registry(1, labels);
  if (registry.Intern("labels", Kind::kGauge, {}, labels).dropped()) {
    return absl::InvalidArgumentError("labels: not UTF-8, above 64 KiB, or one occurs twice");
  }
  absl::Status status = in("max_buffered_samples", max_buffered_samples, 1, 100'000'000);
  status.Update(in("max_batch_samples", max_batch_samples, 1, 65'536));
  status.Update(in("max_in_flight_batches", max_in_flight_batches, 1, 1024));
  status.Update(in("max_series", max_series, 1, 1'000'000));
  return status;
}

int64_t RecorderStats::uncounted_samples() const {
  int64_t count = 0;
  for (const auto& [reason, dropped] : dropped_samples) count += dropped;
  for (const auto& [reason, rejected] : rejected_samples) count += rejected;
  return count;
}

class Recorder::Impl final : private rpc::StreamClient::Handler {
 public:
  Impl(RecorderOptions options, Clock& clock);
  ~Impl() override { Stop(absl::InfinitePast()).IgnoreError(); }

  void Start();
  void Record(int64_t series, uint64_t bits, bool integer, std::optional<absl::Time> event_time);
  int64_t Intern(std::string_view name, Kind kind, absl::Span<const Label> own,
                 absl::Span<const Label> extra) {
    return registry_.Intern(name, kind, own, extra).value;
  }
  void RecordProcessUsage(const std::vector<Label>& labels);
  absl::Status Flush(absl::Time deadline);
  absl::Status Stop(absl::Time deadline);
  RecorderStats stats() const;

 private:
  absl::Status WaitUntilResolved(absl::Time deadline);
  // What the loop lets others see.
  struct Progress {
    int64_t resolved = 0;
    int64_t acked = 0;
    std::map<std::string, int64_t> rejected;
    int64_t sessions = 1;
    int64_t disconnects = 0;
    int64_t rewinds = 0;
    bool connected = false;
    absl::Status last_disconnect;
  };

  void OnConnected() override;
  void OnMessage(grpc::ByteBuffer& message) override;
  void OnClosed(const absl::Status& status) override;

  // Sends whatever was recorded, and calls itself again after max_batch_delay.
  void Tick();
  // Takes what was recorded, and what is to be said about drops.
  void Drain();
  void ReportDrops();
  // Does what the core wants done, until it wants to wait.
  void Pump();
  void Publish();
  // The drops and rejections that no Flush has reported, as its answer.
  absl::Status TakeUncounted();

  // Constant after construction.
  const RecorderOptions options_;
  Clock& clock_;
  std::array<uint32_t, kDropReasonCount> drop_series_;

  // Self-synchronized.
  SeriesRegistry registry_;
  SampleBuffer buffer_;

  // The loop's own.
  RecorderCore core_;
  BatchEncoder encoder_;
  Decoder decoder_;
  std::vector<BufferedSample> drained_;
  std::array<int64_t, kDropReasonCount> reported_drops_{};
  int64_t lost_ = 0, refused_ = 0;  // as far as the buffer was told
  absl::Time timer_ = absl::InfiniteFuture();
  absl::Time usage_due_;
  absl::Status last_disconnect_;

  mutable Mutex mu_;
  CondVar progressed_;
  Progress progress_ ABSL_GUARDED_BY(mu_);
  int64_t told_uncounted_ ABSL_GUARDED_BY(mu_) = 0;  // by TakeUncounted
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  absl::Status stop_status_ ABSL_GUARDED_BY(mu_);

  Mutex usage_mu_;
  double cpu_seconds_ ABSL_GUARDED_BY(usage_mu_) = 0;  // at the reading before

  // Last: its loop uses everything above.
  std::unique_ptr<rpc::StreamClient> client_;
};

Recorder::Impl::Impl(RecorderOptions options, Clock& clock)
    : options_(std::move(options)),
      clock_(clock),
      registry_(options_.max_series, options_.labels),
      buffer_(options_.max_buffered_samples, options_.max_batch_samples),
      core_(CoreOptions(options_, registry_)),
      encoder_([this](uint32_t series) { return registry_.Get(series); }),
      client_(std::make_unique<rpc::StreamClient>(
          rpc::StreamClientOptions{.target = options_.target,
                                   .method = kStreamBatchesMethod,
                                   .metadata = options_.metadata},
          static_cast<rpc::StreamClient::Handler&>(*this), clock)) {
  for (int number = 0; number < kDropReasonCount; ++number) {
    const std::string reason(DropReasonName(static_cast<DropReason>(number)));
    const SeriesRef series =
        registry_.InternOwn(kDroppedMetric, Kind::kCounter, {Label{"reason", reason}});
    // The options' labels are Validate's to refuse.
    WEIR_CHECK(!series.dropped());
    drop_series_[number] = series.number();
  }
  if (const auto usage = ReadProcessUsage(); usage.has_value()) cpu_seconds_ = usage->cpu_seconds;
}

void Recorder::Impl::Start() {
  client_->Post([this] {
    usage_due_ = clock_.Now() + options_.process_usage_interval;
    Tick();
  });
}

void Recorder::Impl::Record(int64_t series, uint64_t bits, bool integer,
                            std::optional<absl::Time> event_time) {
  const SeriesRef ref{series};
  if (ref.dropped()) [[unlikely]] {
    buffer_.CountDropped(ref.reason());
    return;
  }
  const absl::Time time = event_time.has_value() ? *event_time : clock_.Now();
  const bool wake = buffer_.Add({.event_unix_nano = absl::ToUnixNanos(time),
                                 .bits = bits,
                                 .series = ref.number(),
                                 .integer = integer});
  if (!wake) [[likely]]
    return;
  client_->Post([this] {
    Drain();
    Pump();
  });
}

void Recorder::Impl::RecordProcessUsage(const std::vector<Label>& labels) {
  const auto usage = ReadProcessUsage();
  if (!usage.has_value()) return;
  double used;
  {
    MutexLock lock(&usage_mu_);
    used = std::max(usage->cpu_seconds - std::exchange(cpu_seconds_, usage->cpu_seconds), 0.0);
  }
  Record(Intern("system_cpu_seconds", Kind::kCounter, {}, labels), std::bit_cast<uint64_t>(used),
         false, std::nullopt);
  Record(Intern("system_memory_bytes", Kind::kGauge, {}, labels),
         static_cast<uint64_t>(usage->resident_bytes), true, std::nullopt);
}

void Recorder::Impl::OnConnected() {
  core_.OnConnected(clock_.Now());
  Pump();
}

void Recorder::Impl::OnMessage(grpc::ByteBuffer& message) {
  const absl::Time now = clock_.Now();
  if (auto decoded = decoder_.Decode(message); !decoded.ok()) {
    core_.OnNonsense();
  } else if (const auto* opened = std::get_if<SessionOpened>(&*decoded)) {
    core_.OnOpened(*opened, now);
  } else if (const auto* acked = std::get_if<BatchesAcked>(&*decoded)) {
    core_.OnAcked(*acked, now);
  } else if (const auto* rewind = std::get_if<Rewind>(&*decoded)) {
    core_.OnRewind(*rewind, now);
  }
  Pump();
}

void Recorder::Impl::OnClosed(const absl::Status& status) {
  last_disconnect_ = status;
  core_.OnClosed(EndOf(status), clock_.Now());
  Pump();
}

void Recorder::Impl::Tick() {
  const absl::Time now = clock_.Now();
  if (options_.process_usage_interval > absl::ZeroDuration() && now >= usage_due_) {
    usage_due_ = now + options_.process_usage_interval;
    RecordProcessUsage({});
  }
  ReportDrops();
  Drain();
  core_.Cut();
  Pump();
  client_->PostAt(now + options_.max_batch_delay, [this] { Tick(); });
}

void Recorder::Impl::ReportDrops() {
  for (int reason = 0; reason < kDropReasonCount; ++reason) {
    const int64_t dropped = buffer_.dropped(static_cast<DropReason>(reason));
    const int64_t news = dropped - std::exchange(reported_drops_[reason], dropped);
    if (news == 0) continue;
    buffer_.AddOwn({.event_unix_nano = absl::ToUnixNanos(clock_.Now()),
                    .bits = static_cast<uint64_t>(news),
                    .series = drop_series_[reason],
                    .integer = true});
  }
}

void Recorder::Impl::Drain() {
  drained_.clear();
  buffer_.Drain(&drained_);
  core_.Add(drained_);
}

void Recorder::Impl::Pump() {
  using Action = SessionClient::Action;
  while (true) {
    const Action action = core_.Next(clock_.Now());
    if (action.kind == Action::kWait) {
      if (action.until < timer_) {
        timer_ = action.until;
        client_->PostAt(timer_, [this, until = timer_] {
          if (timer_ == until) timer_ = absl::InfiniteFuture();
          Pump();
        });
      }
      break;
    }
    switch (action.kind) {
      case Action::kConnect:
        client_->Connect();
        break;
      case Action::kOpen:
        client_->Write(EncodeOpenSession(core_.session(), options_.ack_when));
        break;
      case Action::kSend:
        encoder_.UndefineFrom(core_.TakeUndefinedFrom());
        // What a dying connection does not take is sent again on the next.
        client_->Write(encoder_.Encode(action.sequence, core_.batch(action.sequence)));
        break;
      case Action::kCancel:
        client_->Cancel();
        break;
      case Action::kWait:
      case Action::kGiveUp:  // the core's own
      case Action::kEmpty:
        break;
    }
  }
  Publish();
}

void Recorder::Impl::Publish() {
  MutexLock lock(&mu_);
  // What leaves the buffer appears elsewhere at the same time, so that the sums
  // of stats() are right.
  buffer_.CountDropped(DropReason::kSessionLost,
                       core_.lost_count() - std::exchange(lost_, core_.lost_count()));
  buffer_.CountDropped(DropReason::kRefused,
                       core_.refused_count() - std::exchange(refused_, core_.refused_count()));
  buffer_.Release(core_.resolved_count() - progress_.resolved);
  if (std::exchange(progress_.resolved, core_.resolved_count()) != core_.resolved_count()) {
    progressed_.NotifyAll();
  }
  progress_.acked = core_.acked_count();
  progress_.rejected = core_.rejected();
  progress_.sessions = core_.session().session_count();
  progress_.disconnects = core_.disconnect_count();
  progress_.rewinds = core_.session().rewind_count();
  progress_.connected = core_.session().open();
  progress_.last_disconnect = last_disconnect_;
}

absl::Status Recorder::Impl::Flush(absl::Time deadline) {
  {
    MutexLock lock(&mu_);
    if (stopping_) return absl::FailedPreconditionError("the recorder is stopped");
  }
  return WaitUntilResolved(deadline);
}

absl::Status Recorder::Impl::WaitUntilResolved(absl::Time deadline) {
  // How many samples must be resolved, once the loop knows. Shared with the loop,
  // which may come to it after the deadline.
  const auto target = std::make_shared<std::optional<int64_t>>();
  client_->Post([this, target] {
    ReportDrops();
    Drain();
    core_.Cut();
    {
      MutexLock lock(&mu_);
      *target = core_.added_count();
      progressed_.NotifyAll();
    }
    Pump();
  });
  {
    MutexLock lock(&mu_);
    while (!target->has_value() || progress_.resolved < **target) {
      if (stopped_) return absl::FailedPreconditionError("the recorder was stopped meanwhile");
      if (clock_.WaitUntil(&mu_, &progressed_, deadline)) continue;
      if (target->has_value() && progress_.resolved >= **target) break;
      return absl::DeadlineExceededError(
          StrCat(buffer_.held(), " samples are not acknowledged yet; the last connection ended: ",
                 progress_.last_disconnect.ToString()));
    }
  }
  return TakeUncounted();
}

absl::Status Recorder::Impl::TakeUncounted() {
  const RecorderStats now = stats();
  const int64_t uncounted = now.uncounted_samples();
  MutexLock lock(&mu_);
  if (uncounted <= told_uncounted_) return absl::OkStatus();
  const int64_t news = uncounted - std::exchange(told_uncounted_, uncounted);
  return absl::DataLossError(StrCat(news, " samples are not counted; since the start: dropped ",
                                    Summary(now.dropped_samples), "; rejected ",
                                    Summary(now.rejected_samples)));
}

absl::Status Recorder::Impl::Stop(absl::Time deadline) {
  {
    MutexLock lock(&mu_);
    if (std::exchange(stopping_, true)) {
      while (!stopped_) progressed_.Wait(&mu_);
      return stop_status_;
    }
  }
  buffer_.Close();
  absl::Status status = WaitUntilResolved(deadline);
  client_->Stop();
  MutexLock lock(&mu_);
  const int64_t left = buffer_.held();
  buffer_.Release(left);
  buffer_.CountDropped(DropReason::kStopped, left);
  progress_.connected = false;
  stop_status_ = status;
  stopped_ = true;
  progressed_.NotifyAll();
  return status;
}

RecorderStats Recorder::Impl::stats() const {
  RecorderStats stats;
  MutexLock lock(&mu_);
  for (int number = 0; number < kDropReasonCount; ++number) {
    const auto reason = static_cast<DropReason>(number);
    if (const int64_t count = buffer_.dropped(reason); count > 0) {
      stats.dropped_samples[std::string(DropReasonName(reason))] = count;
    }
  }
  stats.buffered_samples = buffer_.held();
  stats.acked_samples = progress_.acked;
  stats.rejected_samples = progress_.rejected;
  stats.sessions = progress_.sessions;
  stats.disconnects = progress_.disconnects;
  stats.rewinds = progress_.rewinds;
  stats.connected = progress_.connected;
  stats.last_disconnect = progress_.last_disconnect;
  stats.recorded_samples = stats.acked_samples + stats.buffered_samples + stats.uncounted_samples();
  return stats;
}

absl::StatusOr<std::unique_ptr<Recorder>> Recorder::Create(RecorderOptions options, Clock& clock) {
  if (absl::Status status = options.Validate(); !status.ok()) return status;
  auto impl = std::make_unique<Impl>(std::move(options), clock);
  impl->Start();
  return std::unique_ptr<Recorder>(new Recorder(std::move(impl)));
}

Recorder::Recorder(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Recorder::~Recorder() = default;

Counter Recorder::counter(std::string_view name, const std::vector<Label>& labels) {
  return {this, impl_->Intern(name, Kind::kCounter, {}, labels)};
}

Gauge Recorder::gauge(std::string_view name, const std::vector<Label>& labels) {
  return {this, impl_->Intern(name, Kind::kGauge, {}, labels)};
}

Distribution Recorder::distribution(std::string_view name, const std::vector<Label>& labels) {
  return {this, impl_->Intern(name, Kind::kDistribution, {}, labels)};
}

void Counter::Add(int64_t increase, std::optional<absl::Time> event_time) const {
  recorder_->impl_->Record(series_, static_cast<uint64_t>(increase), true, event_time);
}

void Counter::Add(double increase, std::optional<absl::Time> event_time) const {
  recorder_->impl_->Record(series_, std::bit_cast<uint64_t>(increase), false, event_time);
}

void Gauge::Set(double value, std::optional<absl::Time> event_time) const {
  recorder_->impl_->Record(series_, std::bit_cast<uint64_t>(value), false, event_time);
}

void Distribution::Record(double value, std::optional<absl::Time> event_time) const {
  recorder_->impl_->Record(series_, std::bit_cast<uint64_t>(value), false, event_time);
}

void Recorder::RecordProcessingTime(std::string_view operation, absl::Duration duration,
                                    std::string_view status, const std::vector<Label>& labels) {
  const Label own[] = {{"operation", std::string(operation)}, {"status", std::string(status)}};
  impl_->Record(impl_->Intern("processing_time", Kind::kDistribution, own, labels),
                std::bit_cast<uint64_t>(absl::ToDoubleSeconds(duration)), false, std::nullopt);
}

void Recorder::RecordQueueSize(std::string_view queue, int64_t size,
                               const std::vector<Label>& labels) {
  const Label own[] = {{"queue", std::string(queue)}};
  impl_->Record(impl_->Intern("queue_size", Kind::kGauge, own, labels), static_cast<uint64_t>(size),
                true, std::nullopt);
}

void Recorder::RecordError(std::string_view error_type, std::string_view context,
                           const std::vector<Label>& labels) {
  const Label own[] = {{"error_type", std::string(error_type)}, {"context", std::string(context)}};
  impl_->Record(impl_->Intern("error_count", Kind::kCounter, own, labels), 1, true, std::nullopt);
}

void Recorder::RecordVectorOperation(std::string_view operation, absl::Duration duration,
                                     int64_t vector_count, const std::vector<Label>& labels) {
  const Label own[] = {{"operation", std::string(operation)}};
  impl_->Record(impl_->Intern("vector_operation_time", Kind::kDistribution, own, labels),
                std::bit_cast<uint64_t>(absl::ToDoubleSeconds(duration)), false, std::nullopt);
  impl_->Record(impl_->Intern("vector_count", Kind::kDistribution, own, labels),
                static_cast<uint64_t>(vector_count), true, std::nullopt);
}

void Recorder::RecordSystemMetrics(const std::map<std::string, double>& metrics,
                                   const std::vector<Label>& labels) {
  for (const auto& [name, value] : metrics) {
    impl_->Record(impl_->Intern(StrCat("system_", name), Kind::kGauge, {}, labels),
                  std::bit_cast<uint64_t>(value), false, std::nullopt);
  }
}

void Recorder::RecordProcessUsage(const std::vector<Label>& labels) {
  impl_->RecordProcessUsage(labels);
}

absl::Status Recorder::Flush(absl::Time deadline) { return impl_->Flush(deadline); }
absl::Status Recorder::Stop(absl::Time deadline) { return impl_->Stop(deadline); }
RecorderStats Recorder::stats() const { return impl_->stats(); }

}  // namespace weir::client
