// A series: a metric name, a kind and a label set, within a tenant.
//
// Thread safety: values, thread-compatible; functions are pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/id128.h"

namespace weir {

// What the values of a series mean. Part of its identity: a gauge never becomes
// a distribution by accident. Numbers are stored and sent; never reuse one.
enum class Kind : uint8_t {
  kGauge = 1,          // a reading: the last one matters, sums mean little
  kCounter = 2,        // increases, at least 0; sums and rates matter
  kUpDownCounter = 3,  // changes of either sign; sums matter
  kDistribution = 4,   // observations; quantiles matter
};
inline constexpr int kMaxKind = 4;

// "gauge", "counter", "up_down_counter", "distribution".
std::string_view KindName(Kind kind);

struct SeriesTag {};
using SeriesId = Id128<SeriesTag>;

struct Label {
  std::string name;
  std::string value;
  friend auto operator<=>(const Label&, const Label&) = default;
};

// What a series is. Invariant: labels are sorted by name and names are unique.
struct Series {
  std::string tenant;
  std::string name;
  Kind kind = Kind::kGauge;
  std::vector<Label> labels;
  friend bool operator==(const Series&, const Series&) = default;
};

// Sorts labels by name. Returns false when a name occurs twice.
bool SortLabels(std::vector<Label>* labels);

// The same bytes for the same series in every process and for ever:
// length-prefixed tenant, kind, name, label count, then each name and value.
// Also how definitions travel in frames.
void AppendSeries(const Series& series, std::string* out);
// Errors: DataLoss when `bytes` is not exactly one AppendSeries.
absl::StatusOr<Series> ParseSeries(std::string_view bytes);

// The first 128 bits of the SHA-256 of AppendSeries' bytes.
SeriesId IdOfSeries(const Series& series);
SeriesId IdOfSeriesBytes(std::string_view series_bytes);

// The slot a series lives in, in [0, slot_count).
inline int SlotOf(const SeriesId& id, int slot_count) {
  return static_cast<int>(id.low % static_cast<uint64_t>(slot_count));
}

// Labels as compact JSON, sorted by name: {"model":"gpt-5","region":"eu"}. Bytes
// from 0x80 on pass as they are: that they are UTF-8 is for whoever admits them.
std::string LabelsToJson(const std::vector<Label>& labels);
// Errors: InvalidArgument unless `json` is an object of strings, with no name
// twice and no half of a surrogate pair.
absl::StatusOr<std::vector<Label>> LabelsFromJson(std::string_view json);

// The label that marks an overflow series: every other label is left out and
// the totals of the series past the limit are kept in it.
inline constexpr std::string_view kOverflowLabel = "weir.overflow";

// The overflow series of `series`: its tenant, name and kind, and the one label
// weir.overflow="true".
Series OverflowOf(const Series& series);

}  // namespace weir
