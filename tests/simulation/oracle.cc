#include "tests/simulation/oracle.h"

#include <algorithm>
#include <cstdlib>

#include "common/base/check.h"
#include "common/base/int128_text.h"
#include "common/base/strings.h"
#include "services/aggregator/query.h"

namespace weir::simulation {

Oracle::Oracle(int series_count, std::vector<EventSpan> spans) : spans_(std::move(spans)) {
  for (int i = 0; i < series_count; ++i) {
    series_.push_back({.tenant = "default",
                       .name = "simulated",
                       .kind = Kind::kCounter,
                       .labels = {{.name = "number", .value = StrCat(i)}}});
  }
}

void Oracle::Expect(const ClientBatchPtr& batch) {
  if (!known_.try_emplace(batch->id, true).second) return;
  expected_.push_back(batch);
  expected_count_ += static_cast<int64_t>(batch->samples.size());
}

Verdict Oracle::Compare(store::Store& store, const TierTable& tiers, absl::Time now) const {
  Verdict verdict;
  const auto snapshot = store.OpenSnapshot();
  WEIR_CHECK_OK(snapshot.status());
  for (int tier = 0; tier < tiers.size(); ++tier) {
    for (const EventSpan& span : spans_) {
      CompareSpan(**snapshot, tiers, tier, span, now, &verdict);
    }
  }
  return verdict;
}

void Oracle::CompareSpan(store::Snapshot& snapshot, const TierTable& tiers, int tier,
                         const EventSpan& span, absl::Time now, Verdict* verdict) const {
  aggregator::WindowQuery query = {.tenant = "default",
                                   .window = tiers[tier].window,
                                   .name = "simulated",
                                   .start_time = absl::FromUnixSeconds(span.start_seconds),
                                   .end_time = absl::FromUnixSeconds(span.end_seconds)};
  const auto answer = aggregator::QueryWindow(query, snapshot, tiers, now, {});
  WEIR_CHECK_OK(answer.status());
  if (answer->start_seconds == answer->end_seconds) return;  // no longer kept

  const int64_t width = answer->bin_seconds;
  Bins expected;
  for (const ClientBatchPtr& batch : expected_) {
    for (const SimulatedSample& sample : batch->samples) {
      const int64_t start = AlignDown(SecondsOfNanos(sample.event_unix_nano), width);
      if (start < answer->start_seconds || start >= answer->end_seconds) continue;
      Sum& sum = expected[{sample.series, start}];
      ++sum.count;
      sum.sum += sample.value;
    }
  }
  Bins answered;
  for (const aggregator::SeriesAnswer& series : answer->series) {
    const int number = std::atoi(series.labels.at(0).value.c_str());
    for (size_t i = 0; i < series.bins.size(); ++i) {
      const Aggregate& aggregate = series.bins[i].aggregate;
      if (aggregate.count == 0) continue;
      const int64_t start = answer->start_seconds + static_cast<int64_t>(i) * width;
      answered[{number, start}] = {.count = aggregate.count, .sum = aggregate.integer_sum};
      expected[{number, start}];  // so that what nobody sent is seen
    }
  }
  for (const auto& [key, sum] : expected) {
    Judge(tiers[tier].window, sum, answered[key], key.first, key.second, width, verdict);
  }
}

void Oracle::Judge(const std::string& where, const Sum& expected, const Sum& answered, int series,
                   int64_t start_seconds, int64_t width_seconds, Verdict* verdict) const {
  if (expected.count == answered.count && expected.sum == answered.sum) return;
  if (expected.count >= answered.count) {
    verdict->lost += std::max<int64_t>(1, expected.count - answered.count);
  } else {
    verdict->doubled += answered.count - expected.count;
  }
  if (!verdict->first.empty()) return;
  verdict->first = StrCat("window ", where, ", series ", series, ", bin ", start_seconds, ": ",
                          expected.count, " samples expected, ", answered.count, " answered");
  absl::int128 difference = expected.sum - answered.sum;
  if (difference < 0) difference = -difference;
  for (const ClientBatchPtr& batch : expected_) {
    for (const SimulatedSample& sample : batch->samples) {
      if (sample.series == series && sample.value == difference &&
          AlignDown(SecondsOfNanos(sample.event_unix_nano), width_seconds) == start_seconds) {
        verdict->first += StrCat("; the difference is the sample of batch ", batch->id);
      }
    }
  }
}

}  // namespace weir::simulation
