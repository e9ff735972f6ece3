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

#include "absl/time/time.h"
#include "common/point/point.h"
#include "opentelemetry/proto/collector/metrics/v1/metrics_service.pb.h"
#include "services/collector/admission.h"
#include "services/collector/delta_overlaps.h"
#include "services/collector/request_batches.h"
#include "services/collector/series_table.h"

namespace weir::collector {

namespace otlp = opentelemetry::proto::collector::metrics::v1;

class OtlpReader {
 public:
  // A request that came at `now`. Both outlive this object.
  OtlpReader(const Limits& limits, SeriesTable& series, absl::Time now);

  void Read(const otlp::ExportMetricsServiceRequest& request);

  // Everything admitted, in batches that each fit a frame.
  std::vector<AdmittedBatch> TakeBatches() { return batches_.Take(); }
  const Rejections& rejections() const { return batches_.builder().rejections(); }
  // Admitted increases whose start is known, of series that are followed by themselves.
  const std::vector<DeltaOverlaps::Increase>& increases() const { return increases_; }
  // Points in which the client sums up attribute sets past its own limit.
  int64_t client_overflow_count() const { return client_overflow_count_; }

 private:
  using ResourceMetrics = opentelemetry::proto::metrics::v1::ResourceMetrics;
  using ScopeMetrics = opentelemetry::proto::metrics::v1::ScopeMetrics;
  using Metric = opentelemetry::proto::metrics::v1::Metric;
  using NumberDataPoint = opentelemetry::proto::metrics::v1::NumberDataPoint;
  using HistogramDataPoint = opentelemetry::proto::metrics::v1::HistogramDataPoint;
  using ExponentialHistogramDataPoint =
      opentelemetry::proto::metrics::v1::ExponentialHistogramDataPoint;
  using SummaryDataPoint = opentelemetry::proto::metrics::v1::SummaryDataPoint;

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
  void AddTotal(std::string_view name, Kind kind, uint64_t start, uint64_t time, PointValue value);

  template <typename Attributes>
  void TakeLabels(const Attributes& attributes);
  // Interns the series with `labels_`, or rejects the point.
  std::optional<SeriesHandle> TakeSeries(std::string_view name, Kind kind,
                                         const Label* more = nullptr);
  void NoteIncrease(const SeriesHandle& series, uint64_t start, uint64_t end);

  const Limits& limits_;
  SeriesTable& series_table_;
  RequestBatches batches_;
  BatchBuilder& builder_;  // that of batches_
  std::vector<DeltaOverlaps::Increase> increases_;
  int64_t client_overflow_count_ = 0;

  // Of what is being read; reused.
  std::vector<Label> scope_labels_;  // the scope's, then the resource's
  std::optional<SeriesError> scope_error_;
  bool certain_start_ = false;
  std::vector<Label> labels_;  // the point's, then scope_labels_
  std::optional<SeriesError> labels_error_;
  Series series_;
};

}  // namespace weir::collector
