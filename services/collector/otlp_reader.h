// One OTLP metrics request, whatever carried it, turned into batches.
//
// Labels of a series are the point's attributes; then, where there is none of that
// name yet, the scope's attributes with `otel.scope.name` and `otel.scope.version`;
// then the resource's. Values that are not text are written as JSON writes them.
//
//   gauge                        gauge
//   sum, monotonic               counter: increases, or a running total
//   sum, not monotonic           up-down counter, likewise
//   histogram, exponential too   distribution: what was observed, or all since a start
//   summary                      counters NAME_count and NAME_sum, running totals, and
//                                a gauge NAME with a label `quantile` for each
//
// A series is known again by the bytes of its attributes (SeriesCache), which are parsed
// only when they are new.
//
// Running totals are logged as they came: what they add is for the slot's owner to
// say (services/aggregator/cumulative.h). A start that is the point's own time is
// taken for one, but from a scope that scrapes: some SDKs give it to what was first
// measured in an export. A point that is bad is rejected alone. One that says there
// is no value (a staleness marker) is taken and adds nothing.
//
// Thread safety: thread-compatible.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/point/point.h"
#include "opentelemetry/raw/metrics.pb.h"
#include "services/collector/admission.h"
#include "services/collector/delta_overlaps.h"
#include "services/collector/request_batches.h"
#include "services/collector/series_cache.h"
#include "services/collector/series_table.h"

namespace weir::collector {

class OtlpReader {
 public:
  using Request = opentelemetry::raw::ExportMetricsServiceRequest;

  // A request that came at `now`. All outlive this object.
  OtlpReader(const Limits& limits, SeriesTable& series, SeriesCache& cache, absl::Time now);

  // Errors: InvalidArgument (UNDECODABLE) for attributes that are none: then nothing of
  // the request is to be taken.
  absl::Status Read(const Request& request);

  // Everything admitted, in batches that each fit a frame.
  std::vector<AdmittedBatch> TakeBatches() { return batches_.Take(); }
  const Rejections& rejections() const { return batches_.builder().rejections(); }
  // Admitted increases whose start is known, of series that are followed by themselves.
  const std::vector<DeltaOverlaps::Increase>& increases() const { return increases_; }
  // Points in which the client sums up attribute sets past its own limit.
  int64_t client_overflow_count() const { return client_overflow_count_; }

 private:
  using ResourceMetrics = opentelemetry::raw::ResourceMetrics;
  using ScopeMetrics = opentelemetry::raw::ScopeMetrics;
  using Metric = opentelemetry::raw::Metric;
  using NumberDataPoint = opentelemetry::raw::NumberDataPoint;
  using HistogramDataPoint = opentelemetry::raw::HistogramDataPoint;
  using ExponentialHistogramDataPoint = opentelemetry::raw::ExponentialHistogramDataPoint;
  using SummaryDataPoint = opentelemetry::raw::SummaryDataPoint;
  // Each a KeyValue.
  using RawAttributes = google::protobuf::RepeatedPtrField<std::string>;

  enum class Temporality { kNone, kDelta, kCumulative };

  void ReadMetric(const Metric& metric);
  // Rejects all points of a sum or histogram whose temporality is not said.
  template <typename Data>
  bool TemporalityOf(const Metric& metric, const Data& data, Temporality* temporality);
  void ReadNumber(const Metric& metric, Kind kind, Temporality temporality,
                  const NumberDataPoint& point);
  void ReadHistogram(const Metric& metric, Temporality temporality,
                     const HistogramDataPoint& point);
  void ReadHistogram(const Metric& metric, Temporality temporality,
                     const ExponentialHistogramDataPoint& point);
  void ReadSummary(const Metric& metric, const SummaryDataPoint& point);
  template <typename DataPoint, typename Buckets>
  void AddHistogram(const Metric& metric, Temporality temporality, const DataPoint& point,
                    Buckets buckets);
  void AddTotal(const std::optional<SeriesHandle>& series, uint64_t start, uint64_t time,
                PointValue value);

  void TakeScope(const ResourceMetrics& resource, const ScopeMetrics& scope);
  // Parses the attributes into `labels_`, with those of the scope.
  void TakeLabels(const RawAttributes& attributes);
  // Finds the series of the metric with these attributes, or interns it, or rejects the
  // point.
  std::optional<SeriesHandle> TakeSeries(const Metric& metric, Kind kind,
                                         const RawAttributes& attributes);
  // Interns the series with `labels_`, or rejects the point.
  std::optional<SeriesHandle> InternSeries(std::string_view name, Kind kind,
                                           const Label* more = nullptr);
  void NoteIncrease(const SeriesHandle& series, uint64_t start, uint64_t end);

  const Limits& limits_;
  SeriesTable& series_table_;
  SeriesCache& cache_;
  absl::Status status_;
  RequestBatches batches_;
  BatchBuilder& builder_;  // that of batches_
  std::vector<DeltaOverlaps::Increase> increases_;
  int64_t client_overflow_count_ = 0;

  // Of what is being read; reused.
  std::vector<Label> scope_labels_;  // the scope's, then the resource's
  std::optional<SeriesError> scope_error_;
  bool certain_start_ = false;
  std::string scope_key_;       // tells scope_labels_
  std::string metric_key_;      // and the metric; for keys of the cache
  uint64_t metric_number_ = 0;  // what stands for it; 0: not asked for yet
  std::string key_;             // of a point's series
  std::vector<Label> labels_;   // the point's, then scope_labels_
  std::optional<SeriesError> labels_error_;
  bool client_overflow_ = false;  // whether they say so
  Series series_;
};

}  // namespace weir::collector
