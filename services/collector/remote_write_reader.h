// One request of Prometheus' remote write, 1.0 or 2.0, turned into batches.
//
// What a series is, 2.0 says; 1.0, and 2.0 where it does not say, has only its name:
//
//   counter                  counter: a running total, as NAME_total is by its name
//   gauge, info, state set   gauge, as whatever is nothing else is by its name
//   gauge histogram          gauges
//   summary                  counters NAME_sum and NAME_count, and gauges NAME with a
//                            label `quantile`
//   classic histogram        parts of a distribution NAME: NAME_bucket with a label `le`,
//                            and NAME_sum and NAME_count. By name alone, the latter when
//                            there is a NAME_bucket in the request or was in another one
//                            (HistogramFamilies), else counters
//   native histogram         distribution: all since a start
//
// Running totals and parts are logged as they came: what they add is for the slot's
// owner to say. A sample that is bad is rejected alone. One that is no number (a
// staleness marker, the quantile of a summary without observations) is taken and adds
// nothing; of a part, a staleness marker says that its series has ended. Samples of a
// replica that is not elected are taken and dropped.
//
// Thread safety: thread-compatible.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/time/time.h"
#include "common/point/point.h"
#include "prometheus/write_v1.pb.h"
#include "prometheus/write_v2.pb.h"
#include "services/collector/admission.h"
#include "services/collector/histogram_families.h"
#include "services/collector/replica_election.h"
#include "services/collector/request_batches.h"
#include "services/collector/series_table.h"

namespace weir::collector {

class RemoteWriteReader {
 public:
  using RequestV1 = prometheus::WriteRequest;
  using RequestV2 = io::prometheus::write::v2::Request;

  // What was sent, and how much of it was taken: all but what was rejected.
  struct Counts {
    int64_t samples = 0;
    int64_t histograms = 0;
    int64_t exemplars = 0;  // never taken
    int64_t samples_taken = 0;
    int64_t histograms_taken = 0;
    // Of those taken: dropped, since a replica sends the same.
    int64_t dropped = 0;
  };
  // A replica that is listened to from now on, in place of another.
  struct TakenOver {
    std::string cluster;
    std::string replica;
  };

  // A request that came at `now`. All outlive this object.
  RemoteWriteReader(const Limits& limits, SeriesTable& series, HistogramFamilies& families,
                    ReplicaElection& election, absl::Time now);

  // At least what is made of a request beyond its own bytes: texts that are named often,
  // buckets between those that have counts.
  static int64_t ExpandedBytes(const RequestV1& request);
  static int64_t ExpandedBytes(const RequestV2& request);

  // One request is read, once.
  void Read(const RequestV1& request);
  void Read(const RequestV2& request);

  // Everything admitted, in batches that each fit a frame.
  std::vector<AdmittedBatch> TakeBatches() { return batches_.Take(); }
  const Rejections& rejections() const { return batches_.builder().rejections(); }
  const Counts& counts() const { return counts_; }
  const std::vector<TakenOver>& taken_over() const { return taken_over_; }

 private:
  // As both versions number them.
  enum class Type {
    kUnspecified = 0,
    kCounter = 1,
    kGauge = 2,
    kHistogram = 3,
    kGaugeHistogram = 4,
    kSummary = 5,
    kInfo = 6,
    kStateSet = 7,
  };
  // What a series' samples are, from its type or name.
  struct Meaning {
    Kind kind = Kind::kGauge;
    std::string_view name;  // of the metric
    std::optional<HistogramPart> part;
  };
  using LabelView = std::pair<std::string_view, std::string_view>;

  // Both of these begin a series: its labels into `labels_`, or `error_`.
  void TakeLabels(const prometheus::TimeSeries& series);
  void TakeLabels(const RequestV2& request, const io::prometheus::write::v2::TimeSeries& series);
  void ClearLabels();
  void TakeLabel(std::string_view name, std::string_view value);
  void CheckLabels();

  // The name of the histogram whose bucket a series is; empty when it is none.
  std::string_view BucketFamily() const;
  std::string_view LabelValue(std::string_view name) const;
  bool IsHistogram(std::string_view family) const;
  void NoteBucketFamily();
  // nullopt, and the reason in `error_`, for a bucket without a bound.
  std::optional<Meaning> MeaningOf(Type type);
  Meaning MeaningByName() const;
  Meaning PartOf(std::string_view family, HistogramPart::Role role) const;

  template <typename TimeSeries>
  void ReadSeries(const TimeSeries& series, Type type, int64_t start_ms);
  // Counts the series' samples where batches are cut, though none is added.
  template <typename TimeSeries>
  void PassOver(const TimeSeries& series);
  template <typename TimeSeries>
  void RejectAll(const TimeSeries& series);
  // Sets `error_` for a replica whose name could not be a label.
  void CheckReplica();
  // Whether the labels name a replica that is not listened to.
  bool OfOtherReplica();
  template <typename TimeSeries>
  void DropAll(const TimeSeries& series);
  // Interns the series; nullopt, and the reason in `error_`, when it cannot be admitted.
  std::optional<SeriesHandle> Intern(const Meaning& meaning);
  // Each returns whether it was taken.
  bool AddSample(const SeriesHandle& series, const Meaning& meaning, double value, int64_t time_ms,
                 int64_t start_ms);
  bool AddPart(const SeriesHandle& series, HistogramPart part, double value, int64_t time_ms,
               int64_t start_ms);
  template <typename NativeHistogram>
  bool AddHistogram(SeriesHandle series, const NativeHistogram& histogram, int64_t start_ms);

  const Limits& limits_;
  SeriesTable& series_table_;
  HistogramFamilies& families_;
  ReplicaElection& election_;
  const absl::Time now_;
  RequestBatches batches_;
  BatchBuilder& builder_;  // that of batches_
  Counts counts_;
  std::vector<TakenOver> taken_over_;

  // Of the request being read.
  absl::flat_hash_set<std::string_view> request_families_;
  // The last verdict, and about whom: most requests are of one replica.
  std::optional<LabelView> judged_;
  bool dropped_ = false;
  bool heard_ = false;  // and whether it is known that something of it was admitted

  // Of the series being read; reused.
  std::string_view name_;
  std::string_view replica_;
  std::vector<LabelView> labels_;  // all others
  std::optional<SeriesError> error_;
  Series series_;
};

}  // namespace weir::collector
