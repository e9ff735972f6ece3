#include "services/aggregator/query.h"

#include <algorithm>
#include <limits>
#include <map>
#include <memory>
#include <set>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "common/sketch/sketch.h"
#include "re2/re2.h"

namespace weir::aggregator {
namespace {

constexpr std::string_view kReasonUrl = "weir.dev/refusal";
constexpr std::string_view kMetadataUrl = "weir.dev/refusal/";

constexpr int64_t kLowest = std::numeric_limits<int64_t>::min();
constexpr int64_t kHighest = std::numeric_limits<int64_t>::max();

constexpr int kSeriesPerPage = 1000;
// Sketches being merged at a time: a range of more bins is read in parts.
constexpr int64_t kMaxOpenSketches = 8192;

absl::Status InvalidField(std::string_view field, std::string_view what) {
  return Refusal(RefusalReason::kInvalidField, what, {{"field", std::string(field)}});
}

absl::Status AnswerTooLarge(std::string_view what, int64_t limit) {
  return Refusal(RefusalReason::kAnswerTooLarge, what, {{"limit", StrCat(limit)}});
}

bool HasNul(std::string_view text) { return text.find('\0') != text.npos; }

absl::Status CheckLabels(const std::vector<Label>& labels) {
  for (const Label& label : labels) {
    if (label.name.empty()) return InvalidField("labels", "a name is empty");
    if (HasNul(label.name) || HasNul(label.value)) return InvalidField("labels", "contains NUL");
  }
  return absl::OkStatus();
}

// The compiled conditions on labels that the store does not evaluate.
class Matchers {
 public:
  static absl::StatusOr<Matchers> Compile(const std::vector<LabelMatcher>& matchers,
                                          const QueryLimits& limits) {
    if (matchers.size() > static_cast<size_t>(limits.max_matchers)) {
      return InvalidField("matchers", StrCat("at most ", limits.max_matchers));
    }
    Matchers compiled;
    RE2::Options options(RE2::Quiet);
    options.set_max_mem(limits.max_pattern_memory_bytes);
    for (const LabelMatcher& matcher : matchers) {
      if (matcher.label.empty()) return InvalidField("matchers.label", "is required");
      const auto refuse = [&](std::string_view why) {
        return Refusal(RefusalReason::kInvalidPattern,
                       StrCat("the pattern for ", Shorten(matcher.label, 128), ": ", why),
                       {{"pattern", Shorten(matcher.pattern, 512)}});
      };
      if (matcher.pattern.size() > static_cast<size_t>(limits.max_pattern_bytes)) {
        return refuse(StrCat("is longer than ", limits.max_pattern_bytes, " bytes"));
      }
      auto pattern = std::make_unique<RE2>(matcher.pattern, options);
      if (!pattern->ok()) return refuse(Shorten(pattern->error(), 512));
      compiled.matchers_.push_back(
          {.label = matcher.label, .pattern = std::move(pattern), .exclude = matcher.exclude});
    }
    return compiled;
  }

  bool Match(const std::vector<Label>& labels) const;
  bool empty() const { return matchers_.empty(); }

 private:
  struct Compiled {
    std::string label;
    std::unique_ptr<RE2> pattern;
    bool exclude;
  };
  std::vector<Compiled> matchers_;
};

// "" when there is none. REQUIRES: labels are sorted by name.
std::string_view ValueOfLabel(const std::vector<Label>& labels, std::string_view name) {
  auto found = std::lower_bound(
      labels.begin(), labels.end(), name,
      [](const Label& label, std::string_view wanted) { return label.name < wanted; });
  return found != labels.end() && found->name == name ? std::string_view(found->value) : "";
}

bool Matchers::Match(const std::vector<Label>& labels) const {
  for (const Compiled& matcher : matchers_) {
    const std::string_view value = ValueOfLabel(labels, matcher.label);
    if (RE2::FullMatch(re2::StringPiece(value.data(), value.size()), *matcher.pattern) ==
        matcher.exclude) {
      return false;
    }
  }
  return true;
}

// Kind rules.

bool HasFunction(Kind kind, Function function) {
  return function != Function::kRate || kind != Kind::kGauge;
}

std::string_view FunctionName(Function function) {
  switch (function) {
    case Function::kCount:
      return "count";
    case Function::kSum:
      return "sum";
    case Function::kAvg:
      return "avg";
    case Function::kMin:
      return "min";
    case Function::kMax:
      return "max";
    case Function::kLast:
      return "last";
    case Function::kRate:
      return "rate";
    case Function::kStddev:
      return "stddev";
  }
  return {};
}

absl::Status CheckKind(const WindowQuery& query, const std::set<Kind>& kinds) {
  const std::string names =
      absl::StrJoin(kinds, ",", [](std::string* out, Kind kind) { out->append(KindName(kind)); });
  const auto mismatch = [&](std::string_view what) {
    return Refusal(RefusalReason::kKindMismatch, what, {{"kinds", names}});
  };
  if (kinds.size() > 1) {
    return mismatch(StrCat("the series that match are of several kinds: ", names));
  }
  for (const Kind kind : kinds) {
    for (const Function function : query.functions) {
      if (!HasFunction(kind, function)) {
        return mismatch(StrCat("a ", names, " has no ", FunctionName(function)));
      }
    }
    if (!query.quantiles.empty() && kind != Kind::kDistribution) {
      return mismatch(StrCat("a ", names, " has no quantiles"));
    }
  }
  return absl::OkStatus();
}

// The range.

struct Bins {
  int64_t start_seconds = 0;
  int64_t end_seconds = 0;
  int64_t width_seconds = 0;

  int64_t count() const { return (end_seconds - start_seconds) / width_seconds; }
};

bool InCalendar(absl::Time time) {
  // What a google.protobuf.Timestamp can hold, so that no sum below overflows.
  static const absl::Time kFirst = absl::FromCivil(absl::CivilYear(1), absl::UTCTimeZone());
  static const absl::Time kEnd = absl::FromCivil(absl::CivilYear(10'000), absl::UTCTimeZone());
  return time >= kFirst && time < kEnd;
}

absl::StatusOr<Bins> FindBins(const WindowQuery& query, const Tier& tier, int64_t floor_seconds,
                              absl::Time now, int64_t max_bins) {
  const absl::Time end_time = query.end_time.value_or(now);
  const absl::Time start_time =
      query.start_time.value_or(end_time - absl::Seconds(tier.window_seconds));
  if (!InCalendar(end_time)) return InvalidField("end_time", "outside the years 1 to 9999");
  if (!InCalendar(start_time)) return InvalidField("start_time", "outside the years 1 to 9999");
  if (start_time >= end_time) {
    return query.start_time.has_value() ? InvalidField("start_time", "must be before end_time")
                                        : InvalidField("end_time", "too early");
  }
  const int64_t width = tier.bin_seconds;
  Bins bins{.start_seconds = AlignDown(absl::ToUnixSeconds(start_time), width),
            .end_seconds = AlignDown(absl::ToUnixSeconds(end_time), width),
            .width_seconds = width};
  if (absl::FromUnixSeconds(bins.end_seconds) < end_time) bins.end_seconds += width;
  bins.start_seconds = std::max(bins.start_seconds, floor_seconds);
  bins.end_seconds = std::max(bins.end_seconds, bins.start_seconds);
  if (bins.count() > max_bins) {
    return AnswerTooLarge(StrCat("the range has ", bins.count(), " bins of ", width, " s; at most ",
                                 max_bins, " are answered"),
                          max_bins);
  }
  return bins;
}

// Which series, and into which group each goes.

struct Selection {
  std::set<Kind> kinds;
  std::vector<SeriesAnswer> groups;  // ordered by labels
  bool more = false;                 // those of another page
  absl::flat_hash_map<SeriesId, size_t> group_of;
  std::vector<SeriesId> ids;
};

std::vector<Label> GroupLabels(const WindowQuery& query, std::vector<Label> labels) {
  if (!query.group_by.has_value()) return labels;
  std::vector<Label> kept;
  for (const std::string& name : *query.group_by) {
    kept.push_back({.name = name, .value = std::string(ValueOfLabel(labels, name))});
  }
  std::sort(kept.begin(), kept.end());
  kept.erase(std::unique(kept.begin(), kept.end()), kept.end());
  return kept;
}

absl::StatusOr<Selection> SelectSeries(const WindowQuery& query, const Matchers& matchers,
                                       store::Snapshot& snapshot, const QueryLimits& limits) {
  Selection selection;
  int64_t matched_count = 0;
  std::map<std::vector<Label>, std::vector<SeriesId>> groups;
  store::SeriesFilter filter{
      .tenant = query.tenant, .name = query.name, .labels = query.labels, .limit = kSeriesPerPage};
  while (true) {
    WEIR_ASSIGN_OR_RETURN(std::vector<store::SeriesRow> page, snapshot.FindSeries(filter));
    for (store::SeriesRow& row : page) {
      if (query.kind.has_value() && row.series.kind != *query.kind) continue;
      if (!matchers.Match(row.series.labels)) continue;
      selection.kinds.insert(row.series.kind);
      ++matched_count;
      groups[GroupLabels(query, std::move(row.series.labels))].push_back(row.id);
    }
    if (matched_count > limits.max_matched_series) {
      return AnswerTooLarge(StrCat("more than ", limits.max_matched_series, " series match"),
                            limits.max_matched_series);
    }
    if (page.size() < kSeriesPerPage) break;
    filter.after = page.back().id;
  }
  // Before the sizes are looked at: several kinds may share one set of labels.
  WEIR_RETURN_IF_ERROR(CheckKind(query, selection.kinds));
  auto group = query.after.has_value() ? groups.upper_bound(*query.after) : groups.begin();
  for (; group != groups.end(); ++group) {
    selection.more = static_cast<int64_t>(selection.groups.size()) == query.page_size;
    if (selection.more) break;
    for (const SeriesId& id : group->second) selection.group_of[id] = selection.groups.size();
    selection.ids.insert(selection.ids.end(), group->second.begin(), group->second.end());
    selection.groups.push_back({.labels = group->first, .kind = *selection.kinds.begin()});
  }
  if (static_cast<int64_t>(selection.groups.size()) > limits.max_answer_series) {
    return AnswerTooLarge(StrCat("the answer has ", selection.groups.size(), " series; at most ",
                                 limits.max_answer_series),
                          limits.max_answer_series);
  }
  return selection;
}

// Reading.

// Which bins of which tier, per slot, are part of the answer. A slot's tier k
// covers [max of the derived_until above k, up to the tier asked for; its own).
class Coverage {
 public:
  Coverage(const std::vector<store::SlotState>& slots, int asked_tier)
      : tier_count_(asked_tier + 1) {
    for (const store::SlotState& slot : slots) {
      if (slot.slot >= slot_count_) {
        slot_count_ = slot.slot + 1;
        spans_.resize(slot_count_ * tier_count_);
      }
      int64_t start = kLowest;
      for (int tier = asked_tier; tier >= 0; --tier) {
        const int64_t end = tier == 0 ? kHighest : slot.derived_until[tier];
        spans_[slot.slot * tier_count_ + tier] = {start, end};
        start = std::max(start, end);
      }
    }
  }

  bool Contains(int tier, int slot, int64_t start_seconds) const {
    if (slot < 0 || slot >= slot_count_) return false;
    const Span& span = spans_[slot * tier_count_ + tier];
    return start_seconds >= span.start && start_seconds < span.end;
  }

  // What to read of `tier`, of all slots at once: their boundaries differ by a
  // bin or two at most times, and Contains sorts that out.
  std::pair<int64_t, int64_t> Envelope(int tier, int64_t start, int64_t end) const {
    int64_t lowest = kHighest;
    int64_t highest = kLowest;
    for (int slot = 0; slot < slot_count_; ++slot) {
      const Span& span = spans_[slot * tier_count_ + tier];
      if (span.start >= span.end) continue;
      lowest = std::min(lowest, span.start);
      highest = std::max(highest, span.end);
    }
    return {std::max(start, lowest), std::min(end, highest)};
  }

 private:
  struct Span {
    int64_t start = 0;
    int64_t end = 0;
  };
  const int tier_count_;
  int slot_count_ = 0;
  std::vector<Span> spans_;  // by slot, then tier
};

// Merges the partials of [part.start, part.end) into the groups' bins.
absl::Status ReadPart(const Bins& bins, const Bins& part, int asked_tier, const Coverage& coverage,
                      const std::vector<int64_t>& floors, const std::vector<double>& quantiles,
                      store::Snapshot& snapshot, Selection* selection) {
  const int64_t first_bin = (part.start_seconds - bins.start_seconds) / bins.width_seconds;
  const int64_t part_bins = part.count();
  std::vector<std::optional<Sketch>> sketches;
  if (!quantiles.empty()) sketches.resize(selection->groups.size() * part_bins);

  const auto merge = [&](const store::PartialRow& row) -> absl::Status {
    if (!coverage.Contains(row.tier, row.slot, row.start_seconds)) return absl::OkStatus();
    auto found = selection->group_of.find(row.series_id);
    if (found == selection->group_of.end()) return absl::OkStatus();
    const size_t group = found->second;
    const int64_t bin = (row.start_seconds - part.start_seconds) / part.width_seconds;
    selection->groups[group].bins[first_bin + bin].aggregate.Merge(row.aggregate);
    if (quantiles.empty()) return absl::OkStatus();
    WEIR_ASSIGN_OR_RETURN(Sketch sketch, Sketch::Parse(row.sketch));
    std::optional<Sketch>& merged = sketches[group * part_bins + bin];
    if (merged.has_value()) {
      merged->Merge(sketch);
    } else {
      merged = std::move(sketch);
    }
    return absl::OkStatus();
  };
  for (int tier = asked_tier; tier >= 0; --tier) {
    const auto [start, end] =
        coverage.Envelope(tier, std::max(part.start_seconds, floors[tier]), part.end_seconds);
    if (start >= end) continue;
    const store::PartialFilter filter{
        .tier = tier, .start_seconds = start, .end_seconds = end, .series = selection->ids};
    WEIR_RETURN_IF_ERROR(snapshot.ReadPartials(filter, merge));
  }

  for (size_t i = 0; i < sketches.size(); ++i) {
    if (!sketches[i].has_value() || sketches[i]->count() == 0) continue;
    BinAnswer& answer = selection->groups[i / part_bins].bins[first_bin + i % part_bins];
    answer.relative_error = sketches[i]->RelativeError();
    for (const double quantile : quantiles) {
      // No sample lies outside [min, max], whatever its bucket allows.
      answer.quantiles.push_back(
          std::clamp(sketches[i]->Quantile(quantile), answer.aggregate.min, answer.aggregate.max));
    }
  }
  return absl::OkStatus();
}

// A log is live while any of its slots was heard; then all its slots count, as
// one that is behind has samples that are acknowledged and not here.
void FindCompleteness(const std::vector<store::Watermark>& watermarks, absl::Time now,
                      absl::Duration silent_after, WindowAnswer* answer) {
  std::map<WalId, MissingLog> logs;
  for (const store::Watermark& watermark : watermarks) {
    auto [found, added] = logs.try_emplace(watermark.wal_id);
    MissingLog& log = found->second;
    if (added) {
      log = {watermark.wal_id, watermark.heard_time, watermark.complete_until};
    } else {
      log.heard_time = std::max(log.heard_time, watermark.heard_time);
      log.complete_until = std::min(log.complete_until, watermark.complete_until);
    }
  }
  for (const auto& [wal_id, log] : logs) {
    if (now - log.heard_time > silent_after) {
      answer->missing.push_back(log);
    } else {
      answer->complete_until =
          std::min(answer->complete_until.value_or(absl::InfiniteFuture()), log.complete_until);
    }
  }
}

absl::Status CheckQuery(const WindowQuery& query, const QueryLimits& limits) {
  if (query.name.empty()) return InvalidField("name", "is required");
  if (HasNul(query.name)) return InvalidField("name", "contains NUL");
  WEIR_RETURN_IF_ERROR(CheckLabels(query.labels));
  if (query.quantiles.size() > static_cast<size_t>(limits.max_quantiles)) {
    return InvalidField("quantiles", StrCat("at most ", limits.max_quantiles));
  }
  for (const double quantile : query.quantiles) {
    if (!(quantile >= 0 && quantile <= 1)) return InvalidField("quantiles", "must be in [0, 1]");
  }
  if (query.group_by.has_value()) {
    if (query.group_by->size() > static_cast<size_t>(limits.max_group_labels)) {
      return InvalidField("group_by.labels", StrCat("at most ", limits.max_group_labels));
    }
    for (const std::string& label : *query.group_by) {
      if (label.empty()) return InvalidField("group_by.labels", "a name is empty");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<int> FindTier(const std::string& window, const TierTable& tiers) {
  absl::StatusOr<int> tier = tiers.FindWindow(window);
  if (tier.ok()) return tier;
  std::vector<std::string> valid;
  for (int i = 0; i < tiers.size(); ++i) valid.push_back(tiers[i].window);
  return Refusal(RefusalReason::kUnknownWindow,
                 StrCat("unknown window \"", Shorten(window, 64), "\"; the windows are ",
                        absl::StrJoin(valid, ", ")),
                 {{"window", Shorten(window, 64)}, {"valid", absl::StrJoin(valid, ",")}});
}

}  // namespace

std::string Shorten(std::string_view text, size_t limit) {
  if (text.size() <= limit) return std::string(text);
  while (limit > 0 && (static_cast<unsigned char>(text[limit]) & 0xc0) == 0x80) --limit;
  return StrCat(text.substr(0, limit), "...");
}

absl::Status Refusal(RefusalReason reason, std::string_view message, RefusalMetadata metadata) {
  absl::StatusCode code = absl::StatusCode::kInvalidArgument;
  if (reason == RefusalReason::kKindMismatch) code = absl::StatusCode::kFailedPrecondition;
  if (reason == RefusalReason::kAnswerTooLarge) code = absl::StatusCode::kResourceExhausted;
  absl::Status status(code, std::string(message));
  status.SetPayload(std::string(kReasonUrl), absl::Cord(StrCat(static_cast<int>(reason))));
  for (const auto& [key, value] : metadata) {
    status.SetPayload(StrCat(kMetadataUrl, key), absl::Cord(value));
  }
  return status;
}

std::optional<RefusalReason> RefusalReasonOf(const absl::Status& status) {
  const auto payload = status.GetPayload(std::string(kReasonUrl));
  int number = 0;
  if (!payload.has_value() || !absl::SimpleAtoi(std::string(*payload), &number)) {
    return std::nullopt;
  }
  return static_cast<RefusalReason>(number);
}

RefusalMetadata RefusalMetadataOf(const absl::Status& status) {
  RefusalMetadata metadata;
  status.ForEachPayload([&](auto url, const absl::Cord& value) {
    const std::string_view key(url.data(), url.size());
    if (key.substr(0, kMetadataUrl.size()) != kMetadataUrl) return;
    metadata.emplace_back(key.substr(kMetadataUrl.size()), std::string(value));
  });
  std::sort(metadata.begin(), metadata.end());
  return metadata;
}

absl::StatusOr<WindowAnswer> QueryWindow(const WindowQuery& query, store::Snapshot& snapshot,
                                         const TierTable& tiers, absl::Time now,
                                         const QueryLimits& limits) {
  WEIR_ASSIGN_OR_RETURN(const int tier, FindTier(query.window, tiers));
  WEIR_RETURN_IF_ERROR(CheckQuery(query, limits));
  WEIR_ASSIGN_OR_RETURN(const Matchers matchers, Matchers::Compile(query.matchers, limits));
  WEIR_ASSIGN_OR_RETURN(const std::vector<int64_t> floors, snapshot.Floors());
  WEIR_ASSIGN_OR_RETURN(const Bins bins,
                        FindBins(query, tiers[tier], floors[tier], now, limits.max_answer_bins));

  WindowAnswer answer{.tier = tier,
                      .bin_seconds = bins.width_seconds,
                      .start_seconds = bins.start_seconds,
                      .end_seconds = bins.end_seconds,
                      .kept_since_seconds = floors[tier]};
  WEIR_ASSIGN_OR_RETURN(const std::vector<store::Watermark> watermarks, snapshot.Watermarks());
  FindCompleteness(watermarks, now, limits.silent_after, &answer);

  WEIR_ASSIGN_OR_RETURN(Selection selection, SelectSeries(query, matchers, snapshot, limits));
  const auto group_count = static_cast<int64_t>(selection.groups.size());
  if (group_count * bins.count() > limits.max_answer_bins) {
    return AnswerTooLarge(
        StrCat(group_count, " series of ", bins.count(), " bins each are more than the ",
               limits.max_answer_bins, " bins that are answered"),
        limits.max_answer_bins);
  }
  for (SeriesAnswer& group : selection.groups) group.bins.resize(bins.count());

  if (group_count > 0 && bins.count() > 0) {
    WEIR_ASSIGN_OR_RETURN(const std::vector<store::SlotState> slots, snapshot.Slots());
    const Coverage coverage(slots, tier);
    const int64_t part_bins = query.quantiles.empty()
                                  ? bins.count()
                                  : std::max<int64_t>(1, kMaxOpenSketches / group_count);
    for (Bins part = bins; part.start_seconds < bins.end_seconds;
         part.start_seconds = part.end_seconds) {
      part.end_seconds =
          std::min(bins.end_seconds, part.start_seconds + part_bins * bins.width_seconds);
      WEIR_RETURN_IF_ERROR(
          ReadPart(bins, part, tier, coverage, floors, query.quantiles, snapshot, &selection));
    }
  }
  answer.series = std::move(selection.groups);
  answer.more = selection.more;
  return answer;
}

double ValueOf(Function function, Kind kind, const Aggregate& aggregate, int64_t bin_seconds) {
  const auto count = static_cast<double>(aggregate.count);
  switch (function) {
    case Function::kCount:
      return count;
    case Function::kSum:
      return aggregate.sum();
    case Function::kAvg:
      // An exact sum gives an exactly rounded mean; a float sum may have been
      // cut at the largest double where the running mean was not.
      return aggregate.float_count == 0 ? aggregate.sum() / count : aggregate.mean;
    case Function::kMin:
      return aggregate.min;
    case Function::kMax:
      return aggregate.max;
    case Function::kLast:
      return aggregate.last;
    case Function::kRate:
      return (kind == Kind::kDistribution ? count : aggregate.sum()) /
             static_cast<double>(bin_seconds);
    case Function::kStddev:
      return aggregate.stddev();
  }
  return 0;
}

absl::StatusOr<SeriesPage> ListSeries(const SeriesQuery& query, store::Snapshot& snapshot,
                                      const QueryLimits& limits) {
  if (HasNul(query.name)) return InvalidField("name", "contains NUL");
  WEIR_RETURN_IF_ERROR(CheckLabels(query.labels));
  WEIR_ASSIGN_OR_RETURN(const Matchers matchers, Matchers::Compile(query.matchers, limits));
  SeriesPage page;
  // One more than asked for tells whether there is another page.
  store::SeriesFilter filter{.tenant = query.tenant,
                             .name = query.name,
                             .labels = query.labels,
                             .after = query.after,
                             .limit = matchers.empty() ? query.limit + 1 : kSeriesPerPage};
  for (int64_t scanned = 0; scanned < limits.max_scanned_series;) {
    WEIR_ASSIGN_OR_RETURN(std::vector<store::SeriesRow> rows, snapshot.FindSeries(filter));
    scanned += static_cast<int64_t>(rows.size());
    for (store::SeriesRow& row : rows) {
      if (!matchers.Match(row.series.labels)) continue;
      if (static_cast<int>(page.series.size()) == query.limit) {
        page.next_after = page.series.back().id;
        return page;
      }
      page.series.push_back(std::move(row));
    }
    if (static_cast<int>(rows.size()) < filter.limit) return page;
    filter.after = rows.back().id;
  }
  page.next_after = filter.after;
  return page;
}

}  // namespace weir::aggregator
