#include "services/aggregator/cumulative.h"

#include <algorithm>
#include <tuple>

#include "common/base/check.h"
#include "common/base/status_macros.h"

namespace weir::aggregator {

// The first point of a start.
CumulativeOutcome CumulativeTable::Judge(const Starts& starts, const Point& point,
                                         int64_t time) const {
  const int64_t start = point.start_unix_nano;
  if (start <= 0 || start > time || (start == time && !point.certain_start)) {
    return CumulativeOutcome::kBaseline;
  }
  if (!starts.empty()) {
    const auto newest =
        std::max_element(starts.begin(), starts.end(),
                         [](const Start& a, const Start& b) { return a.unix_nano < b.unix_nano; });
    // A series whose start was not known may be the same one still.
    if (newest->unix_nano > 0 && start > newest->unix_nano && start >= newest->time_unix_nano) {
      return CumulativeOutcome::kFirst;
    }
    if (newest->unix_nano == 0) return CumulativeOutcome::kBaseline;
  }
  return time - start <= absl::ToInt64Nanoseconds(options_.max_first_age)
             ? CumulativeOutcome::kFirst
             : CumulativeOutcome::kBaseline;
}

std::optional<PointValue> CumulativeTable::Advance(SeriesNumber series, bool monotonic,
                                                   int64_t time_unix_nano, const Point& point,
                                                   CumulativeOutcome* outcome) {
  WEIR_CHECK(point.cumulative);
  Starts& starts = series_[series];
  const auto found = std::find_if(starts.begin(), starts.end(), [&](const Start& start) {
    return start.unix_nano == point.start_unix_nano;
  });
  if (found == starts.end()) {
    *outcome = Judge(starts, point, time_unix_nano);
    overlap_count_ += std::any_of(starts.begin(), starts.end(), [&](const Start& other) {
      return other.unix_nano > 0 && point.start_unix_nano > 0 &&
             point.start_unix_nano < other.time_unix_nano && other.unix_nano < time_unix_nano;
    });
    if (starts.size() == options_.max_starts) {
      const auto oldest =
          std::min_element(starts.begin(), starts.end(), [](const Start& a, const Start& b) {
            return std::tie(a.time_unix_nano, a.unix_nano) <
                   std::tie(b.time_unix_nano, b.unix_nano);
          });
      dropped_.emplace_back(series, oldest->unix_nano);
      starts.erase(oldest);
      --size_;
    }
    ++size_;
    Start& start = starts.emplace_back(Start{.unix_nano = point.start_unix_nano});
    Remember(series, &start, time_unix_nano, point);
    if (*outcome == CumulativeOutcome::kBaseline) return std::nullopt;
    return point.value;
  }
  if (time_unix_nano <= found->time_unix_nano) {
    *outcome = CumulativeOutcome::kLate;
    return std::nullopt;
  }
  const absl::StatusOr<Point> before = ParsePoint(found->point);
  WEIR_CHECK_OK(before.status());  // it was checked when it came
  Remember(series, &*found, time_unix_nano, point);
  if (!Comparable(before->value, point.value)) {
    *outcome = CumulativeOutcome::kBaseline;
    return std::nullopt;
  }
  std::optional<PointValue> increase = Increase(before->value, point.value, monotonic);
  *outcome = increase.has_value() ? CumulativeOutcome::kIncrease : CumulativeOutcome::kReset;
  return increase.has_value() ? std::move(increase) : point.value;
}

void CumulativeTable::Remember(SeriesNumber series, Start* start, int64_t time_unix_nano,
                               const Point& point) {
  start->time_unix_nano = time_unix_nano;
  start->point.clear();
  AppendPoint(point, &start->point);
  if (!std::exchange(start->changed, true)) changed_.emplace_back(series, start->unix_nano);
}

absl::Status CumulativeTable::Restore(SeriesNumber series, int64_t start_unix_nano,
                                      int64_t time_unix_nano, std::string point) {
  WEIR_ASSIGN_OR_RETURN(const Point parsed, ParsePoint(point));
  if (!parsed.cumulative || parsed.start_unix_nano != start_unix_nano) {
    return absl::DataLossError("the last point of a cumulative series is another's");
  }
  series_[series].push_back(
      {.unix_nano = start_unix_nano, .time_unix_nano = time_unix_nano, .point = std::move(point)});
  ++size_;
  return absl::OkStatus();
}

CumulativeChanges CumulativeTable::TakeChanges(const SeriesIndex& series) {
  CumulativeChanges changes;
  const auto find = [&](const std::pair<SeriesNumber, int64_t>& key) -> Start* {
    Starts& starts = series_[key.first];
    const auto found = std::find_if(starts.begin(), starts.end(), [&](const Start& start) {
      return start.unix_nano == key.second;
    });
    return found == starts.end() ? nullptr : &*found;
  };
  changes.rows.reserve(changed_.size());
  for (const auto& key : changed_) {
    Start* start = find(key);
    // Dropped since; or dropped, begun again, and told of already.
    if (start == nullptr || !std::exchange(start->changed, false)) continue;
    changes.rows.push_back({.series = &series[key.first],
                            .start_unix_nano = key.second,
                            .time_unix_nano = start->time_unix_nano,
                            .point = start->point});
  }
  std::sort(dropped_.begin(), dropped_.end());
  dropped_.erase(std::unique(dropped_.begin(), dropped_.end()), dropped_.end());
  for (const auto& key : dropped_) {
    if (find(key) == nullptr) {
      changes.dropped.push_back({.series = &series[key.first], .start_unix_nano = key.second});
    }
  }
  changed_.clear();
  dropped_.clear();
  return changes;
}

}  // namespace weir::aggregator
