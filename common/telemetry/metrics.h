// Our own metrics, in Prometheus' text format 0.0.4. (For the metrics of our
// users, see common/model.)
//
// Metrics are made when a service starts and live as long as their Registry;
// what runs per batch touches one relaxed atomic and takes no lock.
//
//   Counter& refused = registry.AddCounter("weir_refused_batches_total", "Batches refused.",
//                                          {{"reason", "overloaded"}});
//   refused.Increment();
//
// Names are `weir_<noun>_<unit>[_total]`, in base units (seconds, bytes).
// Label values come from bounded sets: at most kMaxLabelSets per name; later
// ones share one series whose values are all "other".
//
// Thread safety: thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "common/base/mutex.h"

namespace weir::telemetry {

using Labels = std::vector<std::pair<std::string, std::string>>;

// Only grows.
class Counter {
 public:
  // REQUIRES: count >= 0.
  void Increment(int64_t count = 1) { value_.fetch_add(count, std::memory_order_relaxed); }
  int64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<int64_t> value_{0};
};

class Gauge {
 public:
  void Set(double value) { value_.store(value, std::memory_order_relaxed); }
  void Add(double change) { value_.fetch_add(change, std::memory_order_relaxed); }
  double value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_{0};
};

// Counts observations in cells of fixed upper bounds, plus one without bound.
class Histogram {
 public:
  // REQUIRES: bounds are finite and strictly increasing, at most 64.
  explicit Histogram(std::vector<double> bounds);

  // A value equal to a bound belongs to that bound's cell. NaN is ignored.
  void Observe(double value);
  void Observe(absl::Duration value) { Observe(absl::ToDoubleSeconds(value)); }

  const std::vector<double>& bounds() const { return bounds_; }
  // One per bound and one more, not cumulative.
  std::vector<int64_t> counts() const;
  double sum() const { return sum_.load(std::memory_order_relaxed); }

 private:
  const std::vector<double> bounds_;
  const std::unique_ptr<std::atomic<int64_t>[]> counts_;
  std::atomic<double> sum_{0};
};

// 100 us to 10 s, three a decade: what our operations take.
const std::vector<double>& LatencyBounds();
// `count` bounds from `first`, each `factor` times the one before.
std::vector<double> ExponentialBounds(double first, double factor, int count);

class Registry {
 public:
  static constexpr size_t kMaxLabelSets = 100;

  Registry();
  ~Registry();
  Registry(const Registry&) = delete;
  Registry& operator=(const Registry&) = delete;

  // Returns the metric of this name and these labels, making it when it is new;
  // the order of labels does not matter. The help of the first call is kept.
  // REQUIRES: a valid name ([a-zA-Z_][a-zA-Z0-9_]*), one kind (and, for
  // histograms, one set of bounds) per name, help that is not empty; a
  // counter's name ends in "_total", others' do not.
  Counter& AddCounter(std::string_view name, std::string_view help, Labels labels = {});
  Gauge& AddGauge(std::string_view name, std::string_view help, Labels labels = {});
  Histogram& AddHistogram(std::string_view name, std::string_view help,
                          const std::vector<double>& bounds, Labels labels = {});

  // Values that exist already, asked for whenever the metrics are read. The
  // callback runs on whatever thread renders, must not block, and stays valid
  // until nobody renders any more (stop the OpsServer first). A second callback
  // for the same name and labels replaces the first.
  void AddCallbackGauge(std::string_view name, std::string_view help, Labels labels,
                        std::function<double()> value);
  void AddCallbackCounter(std::string_view name, std::string_view help, Labels labels,
                          std::function<double()> value);

  // The text exposition: names sorted, label sets in the order of their making.
  std::string Render() const;

 private:
  enum class Kind { kCounter, kGauge, kHistogram };
  struct Cell;
  struct Family;

  Cell& FindOrAdd(Kind kind, std::string_view name, std::string_view help, Labels labels)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  mutable Mutex mu_;
  // Families and cells never move and are never removed.
  std::map<std::string, std::unique_ptr<Family>, std::less<>> families_ ABSL_GUARDED_BY(mu_);
};

// Adds the metrics every process has: process_resident_memory_bytes,
// process_cpu_seconds_total, process_open_fds, process_start_time_seconds, and
// weir_build_info{version, service} = 1. `service` names the executable.
void AddProcessMetrics(Registry& registry, std::string_view service);

}  // namespace weir::telemetry
