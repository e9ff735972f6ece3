#include "services/aggregator/query_service.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/base/check.h"
#include "common/rpc/error.h"
#include "common/testing/fake_clock.h"
#include "common/testing/memory_store.h"
#include "common/testing/status_matchers.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "services/aggregator/jobs.h"

namespace weir::aggregator {
namespace {

using test::IsOk;
using test::MemoryStore;
using test::StatusIs;
using ::testing::ElementsAre;
using ::testing::SizeIs;

constexpr int64_t kNano = 1'000'000'000;

// A store that answers only when it is let, to fill the pool.
class GatedStore final : public store::Store {
 public:
  explicit GatedStore(store::Store& store) : store_(store) {}

  absl::StatusOr<store::Claimed> Claim(const std::vector<int>& slots,
                                       const std::string& owner) override {
    return store_.Claim(slots, owner);
  }
  absl::StatusOr<store::Claimed> ReadSlots(const std::vector<int>& slots) override {
    return store_.ReadSlots(slots);
  }
  absl::StatusOr<store::CommitResult> Commit(const store::Transaction& transaction) override {
    return store_.Commit(transaction);
  }
  absl::StatusOr<std::unique_ptr<store::Snapshot>> OpenSnapshot() override {
    MutexLock lock(&mu_);
    ++waiting_;
    changed_.NotifyAll();
    while (!open_) changed_.Wait(&mu_);
    return store_.OpenSnapshot();
  }
  absl::StatusOr<int64_t> RaiseFloor(int tier, int64_t floor_seconds) override {
    return store_.RaiseFloor(tier, floor_seconds);
  }
  absl::StatusOr<bool> DropBelowFloor(int tier, int64_t max_rows) override {
    return store_.DropBelowFloor(tier, max_rows);
  }
  absl::StatusOr<bool> DropIndicatorBins(int tier, int64_t before_seconds,
                                         int64_t max_rows) override {
    return store_.DropIndicatorBins(tier, before_seconds, max_rows);
  }

  void AwaitWaiting(int count) {
    MutexLock lock(&mu_);
    while (waiting_ < count) changed_.Wait(&mu_);
  }
  void Open() {
    MutexLock lock(&mu_);
    open_ = true;
    changed_.NotifyAll();
  }

 private:
  store::Store& store_;
  Mutex mu_;
  CondVar changed_;
  int waiting_ ABSL_GUARDED_BY(mu_) = 0;
  bool open_ ABSL_GUARDED_BY(mu_) = false;
};

class QueryServiceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    WEIR_ASSERT_OK_AND_ASSIGN(
        store_,
        MemoryStore::Create({.slot_count = 1, .tiers = tiers_, .created_time = clock_.Now()}));
    service_ = std::make_unique<QueryService>(QueryServiceOptions{}, *store_, tiers_, clock_);
    ASSERT_THAT(RunJob(Context(), ClaimJob{.owner = "test"}).status, IsOk());
  }

  JobContext Context() { return {.store = *store_, .tiers = tiers_, .slot_count = 1}; }

  // Commits one sample of each value, all a second before now.
  void Commit(const std::string& name, Kind kind, std::vector<Label> labels,
              const std::vector<int64_t>& values,
              frame::ValueType type = frame::ValueType::kInteger) {
    std::string bytes;
    AppendSeries({.name = name, .kind = kind, .labels = std::move(labels)}, &bytes);
    WEIR_ASSERT_OK_AND_ASSIGN(const SeriesNumber number, series_.Intern(0, bytes));
    auto delta = std::make_shared<Delta>(10);
    for (const int64_t value : values) {
      frame::Block block;
      block.type = type;
      block.refs = {0};
      block.times = {absl::ToUnixNanos(clock_.Now()) - kNano};
      block.bits = {type == frame::ValueType::kInteger
                        ? static_cast<uint64_t>(value)
                        : std::bit_cast<uint64_t>(static_cast<double>(value))};
      delta->Fold(series_, {&number, 1}, block);
    }
    const JobResult read = RunJob(Context(), ReadSlotsJob{});
    ASSERT_THAT(read.status, IsOk());
    const store::SlotState& slot = read.claimed.slots[0];
    const absl::Time now = clock_.Now();
    FlushJob job{.delta = delta,
                 .slots = {{0, slot.epoch, slot.commit_number}},
                 .derived_until = {slot.derived_until},
                 .floors = read.claimed.floors};
    job.watermarks = {{.wal_id = WalId{0xab, 0xcd},
                       .old_lsn = lsn_,
                       .new_lsn = lsn_ + 1,
                       .complete_until = now - absl::Milliseconds(1500),
                       .heard_time = now}};
    ++lsn_;
    ASSERT_THAT(RunJob(Context(), job).status, IsOk());
  }

  static v1::QueryWindowRequest Request(const std::string& name) {
    v1::QueryWindowRequest request;
    request.set_window("5m");
    request.set_name(name);
    return request;
  }

  absl::Status Ask(const v1::QueryWindowRequest& request) {
    v1::QueryWindowResponse response;
    return service_->Answer(request, &response);
  }

  v1::QueryWindowResponse Answered(const v1::QueryWindowRequest& request) {
    v1::QueryWindowResponse response;
    EXPECT_THAT(service_->Answer(request, &response), IsOk());
    return response;
  }

  const TierTable tiers_ = TierTable::Default();
  test::FakeClock clock_;
  std::unique_ptr<MemoryStore> store_;
  SeriesIndex series_{{.max_series_per_tenant = 1000, .max_series_per_metric = 20}};
  std::unique_ptr<QueryService> service_;
  uint64_t lsn_ = 0;
};

google::rpc::Status DetailsOf(const absl::Status& status) {
  google::rpc::Status details;
  EXPECT_TRUE(details.ParseFromString(rpc::ToGrpc(status).error_details()));
  return details;
}

void ExpectReason(const absl::Status& status, absl::StatusCode code, v1::ErrorReason reason,
                  const std::map<std::string, std::string>& metadata) {
  EXPECT_THAT(status, StatusIs(code));
  EXPECT_EQ(rpc::ReasonOf(status), reason) << status;
  const google::rpc::Status details = DetailsOf(status);
  for (const google::protobuf::Any& any : details.details()) {
    google::rpc::ErrorInfo info;
    if (!any.UnpackTo(&info)) continue;
    EXPECT_EQ((std::map<std::string, std::string>(info.metadata().begin(), info.metadata().end())),
              metadata);
    return;
  }
  ADD_FAILURE() << "no ErrorInfo: " << status;
}

TEST_F(QueryServiceTest, AnAnswerHasEveryBinAndSaysHowCompleteItIs) {
  Commit("m", Kind::kCounter, {{"model", "x"}}, {3, 4});
  v1::QueryWindowResponse response;
  ASSERT_THAT(service_->Answer(Request("m"), &response), IsOk());
  const int64_t now = absl::ToUnixSeconds(clock_.Now());
  EXPECT_EQ(response.window(), "5m");
  EXPECT_EQ(response.bin_duration().seconds(), 10);
  EXPECT_EQ(response.start_time().seconds(), now - 300);
  EXPECT_EQ(response.end_time().seconds(), now);
  EXPECT_EQ(response.kept_since().seconds(), store_->state()->floors[0]);
  EXPECT_EQ(response.complete_until().seconds(), now - 2);
  EXPECT_EQ(response.complete_until().nanos(), 500'000'000);
  EXPECT_THAT(response.missing(), SizeIs(0));
  ASSERT_THAT(response.series(), SizeIs(1));
  const v1::SeriesBins& series = response.series(0);
  EXPECT_EQ(series.labels().at("model"), "x");
  EXPECT_EQ(series.kind(), v1::KIND_COUNTER);
  ASSERT_THAT(series.bins(), SizeIs(30));
  for (int i = 0; i < 29; ++i) {
    EXPECT_EQ(series.bins(i).start_time().seconds(), now - 300 + 10 * i);
    EXPECT_EQ(series.bins(i).count(), 0);
    EXPECT_FALSE(series.bins(i).has_sum());
    EXPECT_FALSE(series.bins(i).has_min());
  }
  const v1::Bin& bin = series.bins(29);
  EXPECT_EQ(bin.count(), 2);
  EXPECT_EQ(bin.sum(), 7);
  EXPECT_EQ(bin.integer_sum(), "7");
  EXPECT_EQ(bin.avg(), 3.5);
  EXPECT_EQ(bin.min(), 3);
  EXPECT_EQ(bin.max(), 4);
  EXPECT_FALSE(bin.has_last());
  EXPECT_FALSE(bin.has_rate());
  EXPECT_FALSE(bin.has_stddev());
}

TEST_F(QueryServiceTest, OnlyWhatIsAskedForIsAnswered) {
  Commit("m", Kind::kDistribution, {}, {1, 2, 3, 4}, frame::ValueType::kFloat);
  v1::QueryWindowRequest request = Request("m");
  request.add_functions(v1::FUNCTION_RATE);
  request.add_functions(v1::FUNCTION_LAST);
  request.add_functions(v1::FUNCTION_STDDEV);
  request.add_functions(v1::FUNCTION_RATE);
  request.add_quantiles(1);
  request.add_quantiles(0.5);
  v1::QueryWindowResponse response;
  ASSERT_THAT(service_->Answer(request, &response), IsOk());
  ASSERT_THAT(response.series(), SizeIs(1));
  const v1::Bin& bin = response.series(0).bins(29);
  EXPECT_EQ(bin.count(), 4);
  EXPECT_EQ(bin.rate(), 0.4);
  EXPECT_EQ(bin.last(), 4);
  EXPECT_DOUBLE_EQ(bin.stddev(), std::sqrt(1.25));
  EXPECT_FALSE(bin.has_sum());
  EXPECT_FALSE(bin.has_integer_sum());
  ASSERT_THAT(bin.quantiles(), SizeIs(2));
  EXPECT_EQ(bin.quantiles(0).quantile(), 1);
  EXPECT_NEAR(bin.quantiles(0).value(), 4, 4 * 0.011);
  EXPECT_EQ(bin.quantiles(1).quantile(), 0.5);
  EXPECT_NEAR(bin.quantiles(1).value(), 2, 2 * 0.011);
  EXPECT_GT(bin.quantiles(1).relative_error(), 0);
}

TEST_F(QueryServiceTest, ASumOfFloatsHasNoIntegerSum) {
  Commit("m", Kind::kGauge, {}, {2}, frame::ValueType::kFloat);
  v1::QueryWindowResponse response;
  ASSERT_THAT(service_->Answer(Request("m"), &response), IsOk());
  EXPECT_EQ(response.series(0).bins(29).sum(), 2);
  EXPECT_FALSE(response.series(0).bins(29).has_integer_sum());
}

TEST_F(QueryServiceTest, IntegerSumsAreExactBeyond64Bits) {
  const int64_t most = std::numeric_limits<int64_t>::max();
  Commit("m", Kind::kCounter, {}, {most, most, most});
  v1::QueryWindowResponse response;
  ASSERT_THAT(service_->Answer(Request("m"), &response), IsOk());
  EXPECT_EQ(response.series(0).bins(29).integer_sum(), "27670116110564327421");
}

TEST_F(QueryServiceTest, LabelsMatchersAndGroupsReachTheQuery) {
  Commit("m", Kind::kCounter, {{"model", "x"}, {"region", "eu"}}, {1});
  Commit("m", Kind::kCounter, {{"model", "x"}, {"region", "us"}}, {2});
  Commit("m", Kind::kCounter, {{"model", "y"}, {"region", "us"}}, {4});
  v1::QueryWindowRequest request = Request("m");
  (*request.mutable_labels())["model"] = "x";
  v1::LabelMatcher* matcher = request.add_matchers();
  matcher->set_label("region");
  matcher->set_pattern("e.*");
  matcher->set_exclude(true);
  request.mutable_group_by()->add_labels("region");
  request.set_kind(v1::KIND_COUNTER);
  v1::QueryWindowResponse response;
  ASSERT_THAT(service_->Answer(request, &response), IsOk());
  ASSERT_THAT(response.series(), SizeIs(1));
  EXPECT_THAT(response.series(0).labels(), SizeIs(1));
  EXPECT_EQ(response.series(0).labels().at("region"), "us");
  EXPECT_EQ(response.series(0).bins(29).integer_sum(), "2");
}

TEST_F(QueryServiceTest, ACollectorNotHeardIsMissing) {
  Commit("m", Kind::kCounter, {}, {1});
  const int64_t heard = absl::ToUnixSeconds(clock_.Now());
  clock_.Advance(absl::Seconds(61));
  v1::QueryWindowResponse response;
  ASSERT_THAT(service_->Answer(Request("m"), &response), IsOk());
  EXPECT_FALSE(response.has_complete_until());
  ASSERT_THAT(response.missing(), SizeIs(1));
  EXPECT_EQ(response.missing(0).wal_id(), "00000000000000ab00000000000000cd");
  EXPECT_EQ(response.missing(0).heard_time().seconds(), heard);
  EXPECT_EQ(response.missing(0).complete_until().seconds(), heard - 2);
}

TEST_F(QueryServiceTest, PagesTogetherAreTheWholeAnswer) {
  for (int i = 0; i < 7; ++i) Commit("m", Kind::kGauge, {{"i", std::to_string(i)}}, {i});
  v1::QueryWindowRequest request = Request("m");
  request.mutable_end_time()->set_seconds(absl::ToUnixSeconds(clock_.Now()));
  for (const bool grouped : {false, true}) {
    if (grouped) {
      request.mutable_group_by()->add_labels("i");
      request.mutable_group_by()->add_labels("absent");
    }
    request.clear_page_size();
    request.clear_page_token();
    const v1::QueryWindowResponse whole = Answered(request);
    ASSERT_EQ(whole.series_size(), 7);
    EXPECT_EQ(whole.next_page_token(), "");
    request.set_page_size(3);
    v1::QueryWindowResponse pages;
    std::vector<int> sizes;
    do {
      const v1::QueryWindowResponse page = Answered(request);
      sizes.push_back(page.series_size());
      pages.mutable_series()->MergeFrom(page.series());
      request.set_page_token(page.next_page_token());
    } while (!request.page_token().empty());
    EXPECT_THAT(sizes, testing::ElementsAre(3, 3, 1));
    for (int i = 0; i < 7; ++i) {
      EXPECT_EQ(pages.series(i).labels().at("i"), whole.series(i).labels().at("i"));
      EXPECT_EQ(pages.series(i).bins_size(), whole.series(i).bins_size());
    }
  }
  // A page that ends where the answer does is the last one.
  request.set_page_size(7);
  const v1::QueryWindowResponse all = Answered(request);
  EXPECT_EQ(all.next_page_token(), "");
}

TEST_F(QueryServiceTest, AWindowsPageTokenBelongsToItsRequest) {
  for (int i = 0; i < 3; ++i) Commit("m", Kind::kGauge, {{"i", std::to_string(i)}}, {1});
  v1::QueryWindowRequest request = Request("m");
  request.set_page_size(1);
  const v1::QueryWindowResponse page = Answered(request);
  request.set_page_token(page.next_page_token());
  request.set_page_size(2);
  EXPECT_EQ(Answered(request).series_size(), 2) << "pages may have other sizes";
  request.set_window("1h");
  ExpectReason(Ask(request), absl::StatusCode::kInvalidArgument, v1::INVALID_FIELD,
               {{"field", "page_token"}});
  for (const std::string& token :
       std::vector<std::string>{"nonsense", "00000000", page.next_page_token().substr(0, 12)}) {
    request = Request("m");
    request.set_page_token(token);
    ExpectReason(Ask(request), absl::StatusCode::kInvalidArgument, v1::INVALID_FIELD,
                 {{"field", "page_token"}});
  }
  request = Request("m");
  request.set_page_size(-1);
  ExpectReason(Ask(request), absl::StatusCode::kInvalidArgument, v1::INVALID_FIELD,
               {{"field", "page_size"}});
}

TEST_F(QueryServiceTest, BinsWithoutSamplesAreLeftOutWhenAsked) {
  Commit("m", Kind::kGauge, {}, {1, 2});
  v1::QueryWindowRequest request = Request("m");
  const v1::QueryWindowResponse whole = Answered(request);
  request.set_omit_empty(true);
  const v1::QueryWindowResponse some = Answered(request);
  ASSERT_EQ(whole.series_size(), 1);
  ASSERT_EQ(some.series_size(), 1);
  std::vector<std::string> expected;
  std::vector<std::string> found;
  for (const v1::Bin& bin : whole.series(0).bins()) {
    if (bin.count() > 0) expected.push_back(bin.SerializeAsString());
  }
  for (const v1::Bin& bin : some.series(0).bins()) found.push_back(bin.SerializeAsString());
  EXPECT_GT(whole.series(0).bins_size(), 1);
  EXPECT_FALSE(expected.empty());
  EXPECT_EQ(found, expected);
}

TEST_F(QueryServiceTest, EveryRefusalCarriesItsReasonAndMetadata) {
  Commit("m", Kind::kGauge, {}, {1});
  v1::QueryWindowRequest request = Request("m");
  request.set_window("2h");
  ExpectReason(Ask(request), absl::StatusCode::kInvalidArgument, v1::UNKNOWN_WINDOW,
               {{"window", "2h"}, {"valid", "5m,1h,24h,30d,1y"}});

  ExpectReason(Ask(Request("")), absl::StatusCode::kInvalidArgument, v1::INVALID_FIELD,
               {{"field", "name"}});

  request = Request("m");
  request.add_matchers()->set_label("a");
  request.mutable_matchers(0)->set_pattern("[");
  ExpectReason(Ask(request), absl::StatusCode::kInvalidArgument, v1::INVALID_PATTERN,
               {{"pattern", "["}});

  request = Request("m");
  request.add_functions(v1::FUNCTION_RATE);
  ExpectReason(Ask(request), absl::StatusCode::kFailedPrecondition, v1::KIND_MISMATCH,
               {{"kinds", "gauge"}});

  request = Request("m");
  request.mutable_end_time()->set_seconds(253'402'300'799);
  request.mutable_start_time()->set_seconds(absl::ToUnixSeconds(clock_.Now()));
  ExpectReason(Ask(request), absl::StatusCode::kResourceExhausted, v1::ANSWER_TOO_LARGE,
               {{"limit", "1000000"}});
}

TEST_F(QueryServiceTest, ValuesNoFieldMayHoldAreRefusedByName) {
  v1::QueryWindowRequest request = Request("m");
  request.add_functions(v1::FUNCTION_UNSPECIFIED);
  ExpectReason(Ask(request), absl::StatusCode::kInvalidArgument, v1::INVALID_FIELD,
               {{"field", "functions"}});
  request.set_functions(0, static_cast<v1::Function>(99));
  ExpectReason(Ask(request), absl::StatusCode::kInvalidArgument, v1::INVALID_FIELD,
               {{"field", "functions"}});

  request = Request("m");
  request.set_kind(static_cast<v1::Kind>(99));
  ExpectReason(Ask(request), absl::StatusCode::kInvalidArgument, v1::INVALID_FIELD,
               {{"field", "kind"}});

  request = Request("m");
  request.mutable_start_time()->set_seconds(std::numeric_limits<int64_t>::min());
  ExpectReason(Ask(request), absl::StatusCode::kInvalidArgument, v1::INVALID_FIELD,
               {{"field", "start_time"}});
  request = Request("m");
  request.mutable_end_time()->set_nanos(-1);
  ExpectReason(Ask(request), absl::StatusCode::kInvalidArgument, v1::INVALID_FIELD,
               {{"field", "end_time"}});
}

TEST_F(QueryServiceTest, AStoreThatIsDownIsUnavailable) {
  store_->set_unavailable(true);
  const absl::Status status = Ask(Request("m"));
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(rpc::ReasonOf(rpc::FromGrpc(rpc::ToGrpc(status))), v1::STORE_UNAVAILABLE);
}

TEST_F(QueryServiceTest, SeriesAreListedInPages) {
  for (int i = 0; i < 5; ++i) Commit("m", Kind::kCounter, {{"i", std::to_string(i)}}, {1});
  v1::ListSeriesRequest request;
  request.set_name("m");
  request.set_page_size(2);
  std::vector<std::string> ids;
  std::vector<int> sizes;
  do {
    v1::ListSeriesResponse response;
    ASSERT_THAT(service_->Answer(request, &response), IsOk());
    sizes.push_back(response.series_size());
    for (const v1::ListedSeries& series : response.series()) {
      ids.push_back(series.series_id());
      EXPECT_EQ(series.name(), "m");
      EXPECT_EQ(series.kind(), v1::KIND_COUNTER);
      EXPECT_THAT(series.labels(), SizeIs(1));
    }
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());
  EXPECT_THAT(sizes, ElementsAre(2, 2, 1));
  EXPECT_TRUE(std::is_sorted(ids.begin(), ids.end()));
  EXPECT_EQ(std::adjacent_find(ids.begin(), ids.end()), ids.end());
}

TEST_F(QueryServiceTest, CanonicalMetricsAreListedWithTheirUnit) {
  const absl::StatusOr<AliasTable> aliases = AliasTable::Create(
      {{.name = "cache", .unit = "ratio", .kind = Kind::kGauge, .sources = {{.name = "percent"}}}});
  ASSERT_TRUE(aliases.ok());
  Commit("cache", Kind::kGauge, {}, {1});
  Commit("cache", Kind::kCounter, {}, {1});
  Commit("percent", Kind::kGauge, {}, {1});
  QueryServiceOptions options;
  options.aliases = &*aliases;
  QueryService service(options, *store_, tiers_, clock_);
  v1::ListSeriesResponse response;
  ASSERT_THAT(service.Answer(v1::ListSeriesRequest(), &response), IsOk());
  ASSERT_THAT(response.series(), SizeIs(3));
  for (const v1::ListedSeries& series : response.series()) {
    const bool canonical = series.name() == "cache" && series.kind() == v1::KIND_GAUGE;
    EXPECT_EQ(series.unit(), canonical ? "ratio" : "");
  }
}

TEST_F(QueryServiceTest, APageTokenBelongsToItsRequest) {
  for (int i = 0; i < 3; ++i) Commit("m", Kind::kCounter, {{"i", std::to_string(i)}}, {1});
  v1::ListSeriesRequest request;
  request.set_name("m");
  request.set_page_size(1);
  v1::ListSeriesResponse response;
  ASSERT_THAT(service_->Answer(request, &response), IsOk());
  const std::string token = response.next_page_token();
  const auto refused = [&](const std::string& name, const std::string& page_token) {
    v1::ListSeriesRequest other;
    other.set_name(name);
    other.set_page_token(page_token);
    v1::ListSeriesResponse none;
    ExpectReason(service_->Answer(other, &none), absl::StatusCode::kInvalidArgument,
                 v1::INVALID_FIELD, {{"field", "page_token"}});
  };
  refused("n", token);
  refused("m", "x");
  refused("m", "x" + token.substr(1));
  refused("m", token + "x");
  request.set_page_size(-1);
  ExpectReason(service_->Answer(request, &response), absl::StatusCode::kInvalidArgument,
               v1::INVALID_FIELD, {{"field", "page_size"}});
}

TEST_F(QueryServiceTest, TopSeriesNameTheMetricThatGrowsAndTheLabelThatMakesIt) {
  for (int i = 0; i < 50; ++i) {
    Commit("requests", Kind::kCounter,
           {{"model", i % 2 == 0 ? "x" : "y"}, {"user_id", "u" + std::to_string(i)}}, {1});
  }
  Commit("other", Kind::kGauge, {{"model", "x"}}, {1});
  QueryServiceOptions options;
  options.usage = [&](const UsageQuery& query) { return series_.Usage(query); };
  QueryService service(options, *store_, tiers_, clock_);
  v1::ListTopSeriesResponse response;
  ASSERT_THAT(service.Answer(v1::ListTopSeriesRequest(), &response), IsOk());
  EXPECT_EQ(response.series_count(), 21);
  EXPECT_EQ(response.max_series(), 1000);
  EXPECT_EQ(response.max_series_per_metric(), 20);
  EXPECT_EQ(response.metric_count(), 2);
  EXPECT_EQ(response.overflowed_series_count(), 30);
  EXPECT_FALSE(response.overflowed_series_cut());
  ASSERT_THAT(response.metrics(), SizeIs(2));
  const v1::TopMetric& worst = response.metrics(0);
  EXPECT_EQ(worst.name(), "requests");
  EXPECT_EQ(worst.series_count(), 20);
  EXPECT_EQ(worst.overflowed_series_count(), 30);
  EXPECT_TRUE(worst.overflowing());
  EXPECT_EQ(worst.scanned_series_count(), 20);
  ASSERT_THAT(worst.labels(), SizeIs(2));
  EXPECT_EQ(worst.labels(0).name(), "user_id");
  EXPECT_EQ(worst.labels(0).value_count(), 20);
  EXPECT_THAT(worst.labels(0).example_values(), SizeIs(5));
  EXPECT_EQ(worst.labels(1).name(), "model");
  EXPECT_EQ(worst.labels(1).value_count(), 2);
  EXPECT_FALSE(response.metrics(1).overflowing());

  v1::ListTopSeriesRequest request;
  request.set_limit(1);
  ASSERT_THAT(service.Answer(request, &(response = {})), IsOk());
  EXPECT_THAT(response.metrics(), SizeIs(1));
  request.set_name("other");
  ASSERT_THAT(service.Answer(request, &(response = {})), IsOk());
  ASSERT_THAT(response.metrics(), SizeIs(1));
  EXPECT_EQ(response.metrics(0).name(), "other");
  request.set_limit(-1);
  ExpectReason(service.Answer(request, &response), absl::StatusCode::kInvalidArgument,
               v1::INVALID_FIELD, {{"field", "limit"}});
  // Without the index there is nothing to answer with.
  EXPECT_THAT(service_->Answer(v1::ListTopSeriesRequest(), &response),
              StatusIs(absl::StatusCode::kUnavailable));
}

TEST_F(QueryServiceTest, OverTheWireQueriesPastTheQueueAreRefusedAndTheOthersAnswered) {
  Commit("m", Kind::kCounter, {}, {1});
  GatedStore gated(*store_);
  QueryService service({.threads = 1, .max_queued_queries = 1}, gated, tiers_, clock_);
  grpc::ServerBuilder builder;
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  ASSERT_NE(server, nullptr);
  const auto stub = v1::QueryService::NewStub(server->InProcessChannel({}));
  const auto call = [&](absl::Status* status) {
    grpc::ClientContext context;
    v1::QueryWindowResponse response;
    *status = rpc::FromGrpc(stub->QueryWindow(&context, Request("m"), &response));
    if (status->ok()) {
      EXPECT_THAT(response.series(), SizeIs(1));
    }
  };
  absl::Status running, second, third;
  std::thread first_caller([&] { call(&running); });
  gated.AwaitWaiting(1);
  // One of these two waits in the queue, the other finds it full.
  std::thread second_caller([&] { call(&second); });
  std::thread third_caller([&] {
    call(&third);
    gated.Open();
  });
  // Whichever is refused first lets the others go.
  second_caller.join();
  gated.Open();
  third_caller.join();
  first_caller.join();
  EXPECT_THAT(running, IsOk());
  const absl::Status& refused = second.ok() ? third : second;
  EXPECT_TRUE(second.ok() || third.ok());
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(rpc::ReasonOf(refused), v1::OVERLOADED);
  EXPECT_EQ(rpc::RetryDelayOf(refused), absl::Seconds(1));

  service.Stop();
  absl::Status stopped;
  call(&stopped);
  EXPECT_THAT(stopped, StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(rpc::ReasonOf(stopped), v1::SHUTTING_DOWN);
  server->Shutdown();
}

}  // namespace
}  // namespace weir::aggregator
