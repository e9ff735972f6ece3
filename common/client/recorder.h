// An application's side of weir: it records what it does, and every sample that
// is recorded is counted exactly once, through lost connections and restarts of
// the collector.
//
//   auto recorder = client::Recorder::Create({.target = "127.0.0.1:4317",
//                                             .labels = {{"service", "ranker"}}});
//   client::Distribution ttft = (*recorder)->distribution("ttft_seconds", {{"model", "gpt-5"}});
//   ttft.Record(0.31);
//   (*recorder)->RecordProcessingTime("rank", absl::Milliseconds(12));
//   absl::Status durable = (*recorder)->Stop(clock.Now() + absl::Seconds(5));
//
//   any thread: Record ──> buffer (bounded) ──> sender's thread: batches ──> collector
//                 └ full: dropped, counted           └ kept until acknowledged, sent again
//
// Recording takes a short lock that threads seldom share, never waits for the
// network or the disk, and never fails: a sample that cannot be kept is dropped
// and counted under a DropReason. Nothing is summed up on the way, so a window's
// count, minimum and quantiles are those of the calls made. Each sample's event
// time is when it was recorded, unless the caller names another.
//
// Exactly once holds as long as the session lives: on one collector (not behind a
// balancer that moves connections), whose log is kept. When a collector says that
// it does not know the session, what had been sent and not acknowledged may or
// may not have been counted; it is given up rather than counted twice, appears
// under kSessionLost, and a new session continues with everything else.
//
// Every drop is also sent to weir, as the counter
// weir_client_dropped_samples_total{reason}.
//
// Invariant: recorded = acked + rejected + dropped + buffered samples.
//
// Thread safety: Recorder is thread-safe; Counter, Gauge and Distribution are
// values whose methods may be called from any thread. A process that forks
// creates its recorder after that.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/model/series.h"

namespace weir::client {

// Why a sample was not sent, or not sent again.
enum class DropReason {
  kBufferFull,     // max_buffered_samples are waiting for their acknowledgement
  kSeriesInvalid,  // names or labels are not UTF-8, above 64 KiB, or a label occurs twice
  kTooManySeries,  // max_series are known, and this one would be another
  kSessionLost,    // sent, and the collector forgot the session: perhaps counted
  kRefused,        // in a batch that the collector does not take at all
  kStopped,        // after Stop, or not acknowledged when it gave up: perhaps counted
};
inline constexpr int kDropReasonCount = 6;

// "buffer_full", "series_invalid", "too_many_series", "session_lost", "refused",
// "stopped".
std::string_view DropReasonName(DropReason reason);

// When a sample counts as acknowledged.
enum class AckWhen {
  kDurable,    // on the collector's disk
  kCommitted,  // in the store as well
};

struct RecorderOptions {
  // The collector, as gRPC spells addresses. Plain text.
  std::string target = "127.0.0.1:4317";
  // Sent with every connection, such as a token; keys in lower case.
  std::vector<std::pair<std::string, std::string>> metadata;
  // Labels of every series; a label of the same name at a call wins.
  std::vector<Label> labels;
  AckWhen ack_when = AckWhen::kDurable;
  // Samples kept until they are acknowledged; beyond, new ones are dropped. Each
  // takes up to 50 bytes. In [1, 100,000,000].
  int64_t max_buffered_samples = 100'000;
  // A batch is sent when it has so many samples... In [1, 65,536].
  int64_t max_batch_samples = 1000;
  // ... or when its oldest has waited so long. At least 1 ms.
  absl::Duration max_batch_delay = absl::Seconds(1);
  // Batches sent and not acknowledged. In [1, 1024].
  int64_t max_in_flight_batches = 8;
  // Series a recorder may use; in [1, 1,000,000]. A label with unbounded values,
  // such as a request's id, is a mistake that this limits.
  int64_t max_series = 10'000;
  // Between two attempts to connect; doubles from one to the other, with jitter.
  absl::Duration min_reconnect_delay = absl::Milliseconds(50);
  absl::Duration max_reconnect_delay = absl::Seconds(5);
  // How often RecordProcessUsage is called by itself; zero is never.
  absl::Duration process_usage_interval = absl::ZeroDuration();

  // Errors: InvalidArgument, naming the field.
  absl::Status Validate() const;
};

struct RecorderStats {
  int64_t recorded_samples = 0;  // every call, and every report of drops
  int64_t acked_samples = 0;     // acknowledged and counted
  int64_t buffered_samples = 0;  // not acknowledged yet
  // By DropReasonName.
  std::map<std::string, int64_t> dropped_samples;
  // Those the collector rejected one by one, by the name of its ErrorReason, such
  // as VALUE_NOT_FINITE.
  std::map<std::string, int64_t> rejected_samples;
  int64_t sessions = 0;     // 1, and one more for each that was lost or renewed
  int64_t disconnects = 0;  // connections and attempts that ended
  int64_t rewinds = 0;      // times the collector asked for batches again
  bool connected = false;   // the session is open
  // How the last connection, or attempt, ended; OK when none has.
  absl::Status last_disconnect;

  // Samples that will never be counted, as far as is known here.
  int64_t uncounted_samples() const;
};

class Recorder;

// What a series is recorded through: the cheapest way, as nothing is looked up.
// A value to copy; the recorder outlives it.
class Counter {
 public:
  // Adds an increase, at least 0. Integers are summed exactly.
  void Add(int64_t increase = 1, std::optional<absl::Time> event_time = std::nullopt) const;
  void Add(int increase, std::optional<absl::Time> event_time = std::nullopt) const {
    Add(int64_t{increase}, event_time);
  }
  void Add(double increase, std::optional<absl::Time> event_time = std::nullopt) const;

 private:
  friend class Recorder;
  Counter(Recorder* recorder, int64_t series) : recorder_(recorder), series_(series) {}
  Recorder* recorder_;
  int64_t series_;  // its number, or what SeriesRef says
};

class Gauge {
 public:
  // Reads the value now; the last of a bin matters, by event time.
  void Set(double value, std::optional<absl::Time> event_time = std::nullopt) const;

 private:
  friend class Recorder;
  Gauge(Recorder* recorder, int64_t series) : recorder_(recorder), series_(series) {}
  Recorder* recorder_;
  int64_t series_;
};

class Distribution {
 public:
  // Records one observation; its quantiles can be asked for.
  void Record(double value, std::optional<absl::Time> event_time = std::nullopt) const;

 private:
  friend class Recorder;
  Distribution(Recorder* recorder, int64_t series) : recorder_(recorder), series_(series) {}
  Recorder* recorder_;
  int64_t series_;
};

class Recorder {
 public:
  // Starts the sender's thread; connects in the background, so that the
  // collector need not be there yet. `clock` outlives the recorder.
  // Errors: InvalidArgument as Validate.
  static absl::StatusOr<std::unique_ptr<Recorder>> Create(RecorderOptions options,
                                                          Clock& clock = Clock::System());
  // Stops without waiting: what is not acknowledged is given up. Call Stop first.
  ~Recorder();
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  // The same name and labels are the same series, however often asked for. What
  // cannot be a series gives a handle whose samples are dropped.
  Counter counter(std::string_view name, const std::vector<Label>& labels = {});
  Gauge gauge(std::string_view name, const std::vector<Label>& labels = {});
  Distribution distribution(std::string_view name, const std::vector<Label>& labels = {});

  // Under the names of the first recorder; `labels` win over those named here.

  // processing_time{operation, status}, a distribution in seconds.
  void RecordProcessingTime(std::string_view operation, absl::Duration duration,
                            std::string_view status = "success",
                            const std::vector<Label>& labels = {});
  // queue_size{queue}, a gauge.
  void RecordQueueSize(std::string_view queue, int64_t size, const std::vector<Label>& labels = {});
  // error_count{error_type, context}, a counter; adds 1.
  void RecordError(std::string_view error_type, std::string_view context,
                   const std::vector<Label>& labels = {});
  // vector_operation_time{operation}, a distribution in seconds, and
  // vector_count{operation}, a distribution of how many vectors each had.
  void RecordVectorOperation(std::string_view operation, absl::Duration duration,
                             int64_t vector_count, const std::vector<Label>& labels = {});
  // system_<name>, a gauge each.
  void RecordSystemMetrics(const std::map<std::string, double>& metrics,
                           const std::vector<Label>& labels = {});
  // What the kernel says about this process: system_cpu_seconds, a counter of the
  // CPU time used since the call before (its rate is the cores in use), and
  // system_memory_bytes, a gauge of resident memory. Reads /proc.
  void RecordProcessUsage(const std::vector<Label>& labels = {});

  // Waits until everything recorded before the call is acknowledged. Sends what
  // is waiting at once.
  // Errors: DeadlineExceeded, with how the last connection ended (nothing is
  // given up: it is still being sent); DataLoss when samples were dropped or
  // rejected that no earlier Flush has reported, saying how many and why (the
  // others are acknowledged); FailedPrecondition after Stop.
  absl::Status Flush(absl::Time deadline);

  // Refuses samples from now on, flushes until `deadline`, and ends the
  // connection and the thread. What is then not acknowledged is dropped.
  // Returns what Flush would. Idempotent: later calls return the same.
  absl::Status Stop(absl::Time deadline);

  RecorderStats stats() const;

 private:
  friend class Counter;
  friend class Gauge;
  friend class Distribution;
  class Impl;

  explicit Recorder(std::unique_ptr<Impl> impl);

  const std::unique_ptr<Impl> impl_;
};

}  // namespace weir::client
