#include "services/aggregator/top_series.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "common/testing/status_matchers.h"

namespace weir::aggregator {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;

// Series and nothing else, in the order of their ids, as every store has them.
class SeriesSnapshot final : public store::Snapshot {
 public:
  void Add(const Series& series) {
    const SeriesId id = IdOfSeries(series);
    rows_[id] = {.slot = 0, .id = id, .series = series};
  }
  int64_t read_count() const { return read_count_; }

  absl::StatusOr<std::vector<store::SeriesRow>> FindSeries(
      const store::SeriesFilter& filter) override {
    std::vector<store::SeriesRow> found;
    for (const auto& [id, row] : rows_) {
      if (filter.limit > 0 && static_cast<int>(found.size()) == filter.limit) break;
      if (filter.after.has_value() && id <= *filter.after) continue;
      if (row.series.tenant == filter.tenant && row.series.name == filter.name) {
        found.push_back(row);
      }
    }
    read_count_ += static_cast<int64_t>(found.size());
    return found;
  }
  absl::StatusOr<std::vector<store::SlotState>> Slots() override {
    return std::vector<store::SlotState>();
  }
  absl::StatusOr<std::vector<store::Watermark>> Watermarks() override {
    return std::vector<store::Watermark>();
  }
  absl::StatusOr<std::vector<int64_t>> Floors() override { return std::vector<int64_t>(); }
  absl::Status ReadPartials(const store::PartialFilter&,
                            absl::FunctionRef<absl::Status(const store::PartialRow&)>) override {
    return absl::OkStatus();
  }
  absl::Status ReadCumulatives(
      int, absl::FunctionRef<absl::Status(const store::CumulativeRow&)>) override {
    return absl::OkStatus();
  }
  absl::StatusOr<store::IndicatorSet> Indicators() override { return store::IndicatorSet(); }
  absl::Status ReadIndicatorBins(
      const store::IndicatorBinFilter&,
      absl::FunctionRef<absl::Status(const store::IndicatorBin&)>) override {
    return absl::OkStatus();
  }

 private:
  std::map<SeriesId, store::SeriesRow> rows_;
  int64_t read_count_ = 0;
};

Series Named(const std::string& name, std::vector<Label> labels) {
  SortLabels(&labels);
  return {.tenant = "t", .name = name, .kind = Kind::kCounter, .labels = std::move(labels)};
}

std::vector<std::string> Names(const MetricLabels& labels) {
  std::vector<std::string> names;
  for (const LabelUsage& label : labels.labels) names.push_back(label.name);
  return names;
}

TEST(TopSeriesTest, LabelsWithTheMostValuesComeFirst) {
  SeriesSnapshot snapshot;
  for (int i = 0; i < 2500; ++i) {
    snapshot.Add(Named(
        "m",
        {{"model", "m" + std::to_string(i % 3)}, {"region", "eu"}, {"user", std::to_string(i)}}));
  }
  snapshot.Add(OverflowOf(Named("m", {})));
  snapshot.Add(Named("other", {{"unrelated", "x"}}));
  WEIR_ASSERT_OK_AND_ASSIGN(const auto found, FindTopLabels("t", {{.name = "m"}}, snapshot, {}));
  ASSERT_THAT(found, SizeIs(1));
  EXPECT_EQ(found[0].scanned_series_count, 2500);
  EXPECT_THAT(Names(found[0]), ElementsAre("user", "model", "region"));
  EXPECT_EQ(found[0].labels[0].value_count, 2500);
  EXPECT_THAT(found[0].labels[0].examples, SizeIs(5));
  EXPECT_EQ(found[0].labels[1].value_count, 3);
  EXPECT_THAT(found[0].labels[2].examples, ElementsAre("eu"));
}

TEST(TopSeriesTest, OneAnswerReadsSoManySeriesAndSaysHowMany) {
  SeriesSnapshot snapshot;
  for (int i = 0; i < 3000; ++i) snapshot.Add(Named("big", {{"i", std::to_string(i)}}));
  for (int i = 0; i < 10; ++i) snapshot.Add(Named("small", {{"i", std::to_string(i)}}));
  const std::vector<MetricUsage> metrics = {{.name = "small"}, {.name = "big"}};
  WEIR_ASSERT_OK_AND_ASSIGN(const auto found,
                            FindTopLabels("t", metrics, snapshot, {.max_scanned_series = 2000}));
  EXPECT_EQ(found[0].scanned_series_count, 10);
  // What the small one left is for the big one.
  EXPECT_EQ(found[1].scanned_series_count, 1990);
  EXPECT_EQ(found[1].labels[0].value_count, 1990);
  EXPECT_EQ(snapshot.read_count(), 2000);
}

TEST(TopSeriesTest, EndlessLabelNamesAndLongValuesTakeBoundedMemory) {
  SeriesSnapshot snapshot;
  for (int i = 0; i < 100; ++i) {
    snapshot.Add(Named("m", {{"label" + std::to_string(i), std::string(1000, 'v')}}));
  }
  const TopSeriesLimits limits = {.max_followed_labels = 10, .max_answer_labels = 4};
  WEIR_ASSERT_OK_AND_ASSIGN(const auto found,
                            FindTopLabels("t", {{.name = "m"}}, snapshot, limits));
  EXPECT_EQ(found[0].scanned_series_count, 100);
  ASSERT_THAT(found[0].labels, SizeIs(4));
  EXPECT_EQ(found[0].labels[0].examples[0].size(), 128u + 3);
}

}  // namespace
}  // namespace weir::aggregator
