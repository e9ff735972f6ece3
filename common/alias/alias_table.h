// Which metric names are names of one canonical metric, and how their values
// become its values (docs/aliases.md).
//
// A canonical metric is itself in the table: who sends it under its own name is
// held to its range too.
//
// Invariants: a name is a source of one metric at most, and no metric's own name or
// repeat, so that renaming is one step and has no cycle; units are those known;
// scales are finite and above 0; ranges are of gauges.
//
// Thread safety: immutable.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/alias/value_rule.h"
#include "common/model/series.h"

namespace weir {

// The label that keeps a source's own name where sources overlap.
inline constexpr std::string_view kSourceNameLabel = "weir.source_name";

struct AliasSource {
  std::string name;
  double scale = 1;  // values are multiplied by it
  // Another source may report the same at the same time: series keep their own
  // name as a label and so stay apart.
  bool overlap = false;
};

struct AliasMetric {
  std::string name;
  std::string unit;
  Kind kind = Kind::kGauge;
  double least = -std::numeric_limits<double>::infinity();
  double most = std::numeric_limits<double>::infinity();
  std::vector<AliasSource> sources;
  // Not renamed: one process emits them beside a source.
  std::vector<std::string> repeats;
};

// The units there are, in alphabetic order.
absl::Span<const std::string_view> AliasUnits();

class AliasTable {
 public:
  // What becomes of a series.
  struct Alias {
    std::string_view metric;  // what it is called
    std::string_view unit;
    uint8_t rule = 0;  // of value_rules()
    bool keep_source_name = false;
  };
  // A series' handle has seven bits for its rule.
  static constexpr size_t kMaxRules = 128;

  AliasTable() = default;
  AliasTable(AliasTable&&) = default;
  AliasTable& operator=(AliasTable&&) = default;
  // Errors: InvalidArgument for what breaks the invariants, naming the metric.
  static absl::StatusOr<AliasTable> Create(std::vector<AliasMetric> metrics);

  // Null for a name not in the table, and for a kind that is not its metric's.
  const Alias* Find(std::string_view name, Kind kind) const;

  // The first changes nothing: the rule of every series not in the table.
  absl::Span<const ValueRule> value_rules() const { return rules_; }
  const std::vector<AliasMetric>& metrics() const { return metrics_; }

 private:
  struct Entry {
    Kind kind = Kind::kGauge;
    Alias alias;
  };

  absl::Status Add(const AliasMetric& metric);
  absl::StatusOr<uint8_t> RuleOf(const AliasMetric& metric, double scale);

  // Its strings are what the views of `entries_` are of; never changed.
  std::vector<AliasMetric> metrics_;
  std::vector<ValueRule> rules_ = {ValueRule()};
  absl::flat_hash_map<std::string, Entry> entries_;
};

}  // namespace weir
