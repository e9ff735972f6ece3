#include "services/collector/remote_write_reader.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <limits>

#include "absl/strings/escaping.h"
#include "common/base/strings.h"
#include "services/collector/convert.h"
#include "services/collector/native_histogram_convert.h"

namespace weir::collector {
namespace {

namespace v2 = io::prometheus::write::v2;

constexpr std::string_view kName = "__name__";
constexpr std::string_view kReplica = "__replica__";
constexpr std::string_view kCluster = "cluster";
constexpr std::string_view kUpperBound = "le";
constexpr std::string_view kBucketSuffix = "_bucket";
constexpr std::string_view kSumSuffix = "_sum";
constexpr std::string_view kCountSuffix = "_count";
constexpr std::string_view kTotalSuffix = "_total";

// No more labels are looked at; far beyond what is admitted.
constexpr int kMaxLabelsRead = 1024;
// What a running total or a part takes at most.
constexpr size_t kPointBytes = 32;

// The value that says: the series has ended, or its target could not be scraped.
constexpr uint64_t kStale = 0x7ff0000000000002;
bool Stale(double value) { return std::bit_cast<uint64_t>(value) == kStale; }

// `name` without `suffix`; empty when it does not have it, or nothing else.
std::string_view Without(std::string_view suffix, std::string_view name) {
  return name.ends_with(suffix) ? name.substr(0, name.size() - suffix.size()) : std::string_view();
}

// What an error message shows of a client's text.
std::string Shown(std::string_view text) {
  return absl::CHexEscape({text.data(), std::min<size_t>(text.size(), 64)});
}

// Times beyond 2262, either way, do not fit and are far in the future or the past.
int64_t ToUnixNanos(int64_t unix_ms) {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max() / 1'000'000;
  return std::clamp(unix_ms, -kMost, kMost) * 1'000'000;
}

// 0 is not known, and so is what cannot be.
int64_t ToStart(int64_t unix_ms) { return std::max<int64_t>(ToUnixNanos(unix_ms), 0); }

// The bound that a label `le` writes: "0.5", "1e-3", "+Inf".
std::optional<double> UpperBound(std::string_view text) {
  if (text.starts_with('+')) {
    text.remove_prefix(1);
    if (text.starts_with('-')) return std::nullopt;
  }
  double bound = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), bound);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  if (!(bound > -std::numeric_limits<double>::infinity())) return std::nullopt;
  return bound;
}

int64_t StartOf(const prometheus::Sample&) { return 0; }
int64_t StartOf(const v2::Sample& sample) { return sample.start_timestamp(); }
int64_t StartOf(const prometheus::Histogram&) { return 0; }
int64_t StartOf(const v2::Histogram& histogram) { return histogram.start_timestamp(); }

bool IsGauge(const prometheus::Histogram& histogram) {
  return histogram.reset_hint() == prometheus::Histogram::GAUGE;
}
bool IsGauge(const v2::Histogram& histogram) {
  return histogram.reset_hint() == v2::Histogram::RESET_HINT_GAUGE;
}

template <typename Request>
int64_t HistogramBytes(const Request& request) {
  int64_t bytes = 0;
  for (const auto& series : request.timeseries()) {
    for (const auto& histogram : series.histograms()) bytes += PointBytesOf(histogram);
  }
  return bytes;
}

}  // namespace

RemoteWriteReader::RemoteWriteReader(const Limits& limits, SeriesTable& series,
                                     HistogramFamilies& families, ReplicaElection& election,
                                     absl::Time now)
    : limits_(limits),
      series_table_(series),
      families_(families),
      election_(election),
      now_(now),
      batches_(limits, now),
      builder_(batches_.builder()) {}

int64_t RemoteWriteReader::ExpandedBytes(const RequestV1& request) {
  return HistogramBytes(request);
}

int64_t RemoteWriteReader::ExpandedBytes(const RequestV2& request) {
  int64_t bytes = HistogramBytes(request);
  for (const v2::TimeSeries& series : request.timeseries()) {
    for (const uint32_t ref : series.labels_refs()) {
      if (ref < static_cast<uint32_t>(request.symbols_size())) {
        bytes += static_cast<int64_t>(request.symbols(static_cast<int>(ref)).size());
      }
    }
  }
  return bytes;
}

void RemoteWriteReader::Read(const RequestV1& request) {
  for (const prometheus::MetricMetadata& metadata : request.metadata()) {
    if (metadata.type() == prometheus::MetricMetadata::HISTOGRAM) {
      families_.Remember(kDefaultTenant, metadata.metric_family_name());
    }
  }
  for (const prometheus::TimeSeries& series : request.timeseries()) {
    TakeLabels(series);
    NoteBucketFamily();
  }
  for (const prometheus::TimeSeries& series : request.timeseries()) {
    TakeLabels(series);
    ReadSeries(series, Type::kUnspecified, 0);
  }
}

void RemoteWriteReader::Read(const RequestV2& request) {
  for (const v2::TimeSeries& series : request.timeseries()) {
    TakeLabels(request, series);
    NoteBucketFamily();
  }
  for (const v2::TimeSeries& series : request.timeseries()) {
    TakeLabels(request, series);
    ReadSeries(series, static_cast<Type>(series.metadata().type()), series.created_timestamp());
  }
}

void RemoteWriteReader::TakeLabels(const prometheus::TimeSeries& series) {
  ClearLabels();
  if (series.labels_size() > kMaxLabelsRead) {
    error_ = {Reject::kTooManyLabels,
              StrCat("a series has ", series.labels_size(), " labels; at most ", limits_.max_labels,
                     " are allowed")};
    return;
  }
  for (const prometheus::Label& label : series.labels()) TakeLabel(label.name(), label.value());
  CheckLabels();
}

void RemoteWriteReader::TakeLabels(const RequestV2& request, const v2::TimeSeries& series) {
  ClearLabels();
  const int size = series.labels_refs_size();
  if (size > 2 * kMaxLabelsRead) {
    error_ = {Reject::kTooManyLabels, StrCat("a series has ", size / 2, " labels; at most ",
                                             limits_.max_labels, " are allowed")};
    return;
  }
  if (size % 2 != 0) {
    error_ = {Reject::kLabelInvalid, "a series has a label's name without its value"};
    return;
  }
  const auto symbols = static_cast<uint32_t>(request.symbols_size());
  for (int i = 0; i < size; i += 2) {
    const uint32_t name = series.labels_refs(i);
    const uint32_t value = series.labels_refs(i + 1);
    if (name >= symbols || value >= symbols) {
      error_ = {Reject::kLabelInvalid,
                StrCat("a label refers to symbol ", std::max(name, value), " of ", symbols)};
      return;
    }
    TakeLabel(request.symbols(static_cast<int>(name)), request.symbols(static_cast<int>(value)));
  }
  CheckLabels();
}

void RemoteWriteReader::ClearLabels() {
  name_ = {};
  replica_ = {};
  labels_.clear();
  error_.reset();
}

void RemoteWriteReader::TakeLabel(std::string_view name, std::string_view value) {
  if (name == kName || name == kReplica) {
    std::string_view& taken = name == kName ? name_ : replica_;
    if (!taken.empty()) error_ = {Reject::kLabelInvalid, StrCat("a series has ", name, " twice")};
    taken = value;
  } else {
    labels_.emplace_back(name, value);
  }
}

void RemoteWriteReader::CheckLabels() {
  if (error_.has_value()) return;
  if (name_.empty()) {
    error_ = {Reject::kNameInvalid, "a series has no label __name__"};
    return;
  }
  // Found out before any of it is copied.
  int64_t bytes = static_cast<int64_t>(replica_.size());
  for (const auto& [name, value] : labels_) {
    bytes += static_cast<int64_t>(name.size() + value.size());
  }
  if (bytes > limits_.max_series_bytes) {
    error_ = {Reject::kTooManyLabels,
              StrCat("the labels of metric '", Shown(name_), "' take ", bytes, " bytes; at most ",
                     limits_.max_series_bytes, " are allowed")};
  }
}

std::string_view RemoteWriteReader::LabelValue(std::string_view name) const {
  for (const auto& [label, value] : labels_) {
    if (label == name) return value;
  }
  return {};
}

std::string_view RemoteWriteReader::BucketFamily() const {
  const std::string_view family = Without(kBucketSuffix, name_);
  return family.empty() || LabelValue(kUpperBound).empty() ? std::string_view() : family;
}

bool RemoteWriteReader::IsHistogram(std::string_view family) const {
  return request_families_.contains(family) || families_.Knows(kDefaultTenant, family);
}

void RemoteWriteReader::NoteBucketFamily() {
  const std::string_view family = BucketFamily();
  if (error_.has_value() || family.empty() || !UpperBound(LabelValue(kUpperBound))) return;
  request_families_.insert(family);
}

RemoteWriteReader::Meaning RemoteWriteReader::PartOf(std::string_view family,
                                                     HistogramPart::Role role) const {
  return {.kind = Kind::kDistribution, .name = family, .part = HistogramPart{.role = role}};
}

RemoteWriteReader::Meaning RemoteWriteReader::MeaningByName() const {
  using Role = HistogramPart::Role;
  if (name_.ends_with(kTotalSuffix)) return {.kind = Kind::kCounter, .name = name_};
  if (const auto family = BucketFamily(); !family.empty()) return PartOf(family, Role::kBucket);
  for (const auto& [suffix, role] :
       {std::pair(kSumSuffix, Role::kSum), std::pair(kCountSuffix, Role::kCount)}) {
    const std::string_view family = Without(suffix, name_);
    if (family.empty()) continue;
    if (IsHistogram(family)) return PartOf(family, role);
    return {.kind = Kind::kCounter, .name = name_};
  }
  return {.kind = Kind::kGauge, .name = name_};
}

std::optional<RemoteWriteReader::Meaning> RemoteWriteReader::MeaningOf(Type type) {
  using Role = HistogramPart::Role;
  Meaning meaning = {.kind = Kind::kGauge, .name = name_};
  const std::string_view summed = Without(kSumSuffix, name_);
  const std::string_view counted = Without(kCountSuffix, name_);
  switch (type) {
    case Type::kCounter:
      meaning.kind = Kind::kCounter;
      break;
    case Type::kHistogram:
      if (const auto family = BucketFamily(); !family.empty()) {
        meaning = PartOf(family, Role::kBucket);
      } else if (!summed.empty()) {
        meaning = PartOf(summed, Role::kSum);
      } else if (!counted.empty()) {
        meaning = PartOf(counted, Role::kCount);
      }
      break;
    case Type::kSummary:
      if (!summed.empty() || !counted.empty()) meaning.kind = Kind::kCounter;
      break;
    case Type::kGauge:
    case Type::kGaugeHistogram:
    case Type::kInfo:
    case Type::kStateSet:
      break;
    case Type::kUnspecified:
    default:  // one that is newer than this
      meaning = MeaningByName();
      break;
  }
  if (meaning.part.has_value() && meaning.part->role == Role::kBucket) {
    const std::string_view text = LabelValue(kUpperBound);
    const std::optional<double> bound = UpperBound(text);
    if (!bound.has_value()) {
      error_ = {Reject::kLabelInvalid, StrCat("a bucket of '", Shown(meaning.name), "' has le=\"",
                                              Shown(text), "\", which is no upper bound")};
      return std::nullopt;
    }
    if (std::count_if(labels_.begin(), labels_.end(),
                      [](const LabelView& label) { return label.first == kUpperBound; }) > 1) {
      error_ = {Reject::kLabelInvalid,
                StrCat("a bucket of '", Shown(meaning.name), "' has the label le twice")};
      return std::nullopt;
    }
    meaning.part->upper_bound = *bound;
  }
  return meaning;
}

bool RemoteWriteReader::OfOtherReplica() {
  if (replica_.empty()) return false;
  const std::string_view cluster = LabelValue(kCluster);
  if (judged_ == LabelView(cluster, replica_)) return dropped_;
  const auto verdict = election_.Judge(kDefaultTenant, cluster, replica_, now_);
  judged_.emplace(cluster, replica_);
  heard_ = false;
  dropped_ = verdict == ReplicaElection::Verdict::kNotElected;
  if (verdict == ReplicaElection::Verdict::kTakenOver) {
    taken_over_.push_back({.cluster = std::string(cluster), .replica = std::string(replica_)});
  }
  return dropped_;
}

template <typename TimeSeries>
void RemoteWriteReader::PassOver(const TimeSeries& series) {
  for (int i = 0; i < series.samples_size(); ++i) batches_.CountSample(kPointBytes);
  for (const auto& histogram : series.histograms()) {
    batches_.CountSample(static_cast<size_t>(PointBytesOf(histogram)));
  }
}

template <typename TimeSeries>
void RemoteWriteReader::RejectAll(const TimeSeries& series) {
  const int count = series.samples_size() + series.histograms_size();
  if (count > 0) builder_.Reject(error_->reason, error_->message, count);
  PassOver(series);
}

template <typename TimeSeries>
void RemoteWriteReader::DropAll(const TimeSeries& series) {
  counts_.samples_taken += series.samples_size();
  counts_.histograms_taken += series.histograms_size();
  counts_.dropped += series.samples_size() + series.histograms_size();
  PassOver(series);
}

template <typename TimeSeries>
void RemoteWriteReader::ReadSeries(const TimeSeries& series, Type type, int64_t start_ms) {
  counts_.samples += series.samples_size();
  counts_.histograms += series.histograms_size();
  counts_.exemplars += series.exemplars_size();
  if (!error_.has_value()) CheckReplica();
  if (error_.has_value()) return RejectAll(series);
  if (OfOtherReplica()) return DropAll(series);
  const int64_t taken_before = counts_.samples_taken + counts_.histograms_taken;
  std::optional<Meaning> meaning;
  std::optional<SeriesHandle> samples;
  if (series.samples_size() > 0) {
    meaning = MeaningOf(type);
    if (meaning.has_value()) samples = Intern(*meaning);
  }
  std::optional<SeriesHandle> histograms;
  if (series.histograms_size() > 0 && !error_.has_value()) {
    histograms = Intern({.kind = Kind::kDistribution, .name = name_});
  }
  if (error_.has_value()) return RejectAll(series);
  for (const auto& sample : series.samples()) {
    const int64_t start = StartOf(sample) != 0 ? StartOf(sample) : start_ms;
    counts_.samples_taken +=
        AddSample(*samples, *meaning, sample.value(), sample.timestamp(), start);
    batches_.CountSample(kPointBytes);
  }
  for (const auto& histogram : series.histograms()) {
    const int64_t start = StartOf(histogram) != 0 ? StartOf(histogram) : start_ms;
    counts_.histograms_taken += AddHistogram(*histograms, histogram, start);
    batches_.CountSample(static_cast<size_t>(PointBytesOf(histogram)));
  }
  if (counts_.samples_taken + counts_.histograms_taken == taken_before) return;
  if (meaning.has_value() && meaning->part.has_value() &&
      meaning->part->role == HistogramPart::Role::kBucket) {
    families_.Remember(kDefaultTenant, meaning->name);
  }
  if (!replica_.empty() && !std::exchange(heard_, true)) {
    election_.Heard(kDefaultTenant, judged_->first, judged_->second, now_);
  }
}

void RemoteWriteReader::CheckReplica() {
  for (const std::string_view value : {LabelValue(kCluster), replica_}) {
    if (static_cast<int64_t>(value.size()) > limits_.max_label_value_bytes) {
      error_ = {Reject::kLabelInvalid,
                StrCat("cluster or replica '", Shown(value), "...' of ", value.size(),
                       " bytes; allowed are up to ", limits_.max_label_value_bytes)};
    }
  }
}

std::optional<SeriesHandle> RemoteWriteReader::Intern(const Meaning& meaning) {
  series_.tenant = kDefaultTenant;
  series_.name = meaning.name;
  series_.kind = meaning.kind;
  series_.labels.clear();
  const bool bucket =
      meaning.part.has_value() && meaning.part->role == HistogramPart::Role::kBucket;
  for (const auto& [name, value] : labels_) {
    if (bucket && name == kUpperBound) continue;
    series_.labels.push_back({std::string(name), std::string(value)});
  }
  error_ = AdmitSeries(limits_, &series_);
  if (error_.has_value()) return std::nullopt;
  return series_table_.Intern(series_);
}

bool RemoteWriteReader::AddSample(const SeriesHandle& series, const Meaning& meaning, double value,
                                  int64_t time_ms, int64_t start_ms) {
  if (meaning.part.has_value()) return AddPart(series, *meaning.part, value, time_ms, start_ms);
  if (std::isnan(value)) return true;
  if (meaning.kind == Kind::kGauge) return builder_.AddFloat(series, ToUnixNanos(time_ms), value);
  return builder_.AddPoint(
      series, ToUnixNanos(time_ms),
      {.cumulative = true, .start_unix_nano = ToStart(start_ms), .value = value});
}

bool RemoteWriteReader::AddPart(const SeriesHandle& series, HistogramPart part, double value,
                                int64_t time_ms, int64_t start_ms) {
  Point point = {.cumulative = true, .start_unix_nano = ToStart(start_ms)};
  if (std::isnan(value)) {
    // A series that ended, or a sum of observations that were no numbers: either is not
    // waited for.
    part.gone = true;
    point.value = int64_t{0};
  } else if (part.role == HistogramPart::Role::kSum || std::isinf(value)) {
    point.value = value;  // one that is not finite is not admitted
  } else if (value < 0 || value >= static_cast<double>(kMaxPartCount) ||
             value != std::floor(value)) {
    builder_.Reject(Reject::kHistogramInvalid,
                    StrCat("histogram '", Shown(series_.name), "' has a count of ", value,
                           "; allowed are whole ones from 0 and below 2^53"));
    return false;
  } else {
    point.value = static_cast<int64_t>(value);
  }
  point.part = part;
  return builder_.AddPoint(series, ToUnixNanos(time_ms), point);
}

template <typename NativeHistogram>
bool RemoteWriteReader::AddHistogram(SeriesHandle series, const NativeHistogram& sent,
                                     int64_t start_ms) {
  if (Stale(sent.sum())) return true;
  if (IsGauge(sent)) {
    builder_.Reject(Reject::kMetricUnsupported, StrCat("histogram '", Shown(name_),
                                                       "' is a gauge; only histograms that count "
                                                       "up are allowed"));
    return false;
  }
  absl::StatusOr<Histogram> histogram = ToHistogram(sent);
  if (!histogram.ok()) {
    builder_.Reject(Reject::kHistogramInvalid,
                    StrCat("a histogram has ", StdView(histogram.status().message())));
    return false;
  }
  const Point point = {
      .cumulative = true, .start_unix_nano = ToStart(start_ms), .value = *std::move(histogram)};
  if (!builder_.ScalesExactly(series, point)) series = series_table_.InternUnaliased(series_);
  return builder_.AddPoint(series, ToUnixNanos(sent.timestamp()), point);
}

}  // namespace weir::collector
