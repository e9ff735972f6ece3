#include "services/aggregator/query_service.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "common/base/crc32c.h"
#include "common/base/int128_text.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "common/rpc/error.h"
#include "common/rpc/unary.h"

namespace weir::aggregator {
namespace {

using google::protobuf::Timestamp;

constexpr int kDefaultPageSize = 50;
constexpr int kMaxPageSize = 1000;
constexpr int kDefaultTopMetrics = 10;
constexpr int kMaxTopMetrics = 100;

// What a google.protobuf.Timestamp may hold: years 1 to 9999.
constexpr int64_t kFirstSeconds = -62'135'596'800;
constexpr int64_t kLastSeconds = 253'402'300'799;

// Proto to domain.

absl::StatusOr<std::optional<absl::Time>> TimeOf(bool present, const Timestamp& timestamp,
                                                 std::string_view field) {
  if (!present) return std::optional<absl::Time>();
  if (timestamp.seconds() < kFirstSeconds || timestamp.seconds() > kLastSeconds ||
      timestamp.nanos() < 0 || timestamp.nanos() > 999'999'999) {
    return rpc::InvalidField(field, "is no valid timestamp");
  }
  return std::optional<absl::Time>(absl::FromUnixSeconds(timestamp.seconds()) +
                                   absl::Nanoseconds(timestamp.nanos()));
}

template <typename Map>
std::vector<Label> LabelsOf(const Map& map) {
  std::vector<Label> labels;
  for (const auto& [name, value] : map) labels.push_back({.name = name, .value = value});
  std::sort(labels.begin(), labels.end());
  return labels;
}

template <typename Matchers>
std::vector<LabelMatcher> MatchersOf(const Matchers& messages) {
  std::vector<LabelMatcher> matchers;
  for (const v1::LabelMatcher& message : messages) {
    matchers.push_back(
        {.label = message.label(), .pattern = message.pattern(), .exclude = message.exclude()});
  }
  return matchers;
}

absl::StatusOr<std::vector<Function>> FunctionsOf(const v1::QueryWindowRequest& request) {
  if (request.functions().empty()) {
    return std::vector<Function>{Function::kCount, Function::kSum, Function::kAvg, Function::kMin,
                                 Function::kMax};
  }
  std::vector<Function> functions;
  for (const int number : request.functions()) {
    if (number == v1::FUNCTION_UNSPECIFIED || !v1::Function_IsValid(number)) {
      return rpc::InvalidField("functions", StrCat(number, " is no function"));
    }
    // A repetition computes nothing more, and must not make us do it either.
    const auto function = static_cast<Function>(number);
    if (std::find(functions.begin(), functions.end(), function) == functions.end()) {
      functions.push_back(function);
    }
  }
  return functions;
}
static_assert(static_cast<int>(Function::kCount) == v1::FUNCTION_COUNT);
static_assert(static_cast<int>(Function::kStddev) == v1::FUNCTION_STDDEV);
static_assert(static_cast<int>(Kind::kGauge) == v1::KIND_GAUGE);
static_assert(static_cast<int>(Kind::kDistribution) == v1::KIND_DISTRIBUTION);

absl::StatusOr<WindowQuery> QueryOf(const v1::QueryWindowRequest& request,
                                    const std::string& tenant) {
  WindowQuery query{.tenant = tenant,
                    .window = request.window(),
                    .name = request.name(),
                    .labels = LabelsOf(request.labels()),
                    .matchers = MatchersOf(request.matchers()),
                    .quantiles = {request.quantiles().begin(), request.quantiles().end()}};
  if (request.has_group_by()) {
    query.group_by.emplace(request.group_by().labels().begin(), request.group_by().labels().end());
  }
  WEIR_ASSIGN_OR_RETURN(query.start_time,
                        TimeOf(request.has_start_time(), request.start_time(), "start_time"));
  WEIR_ASSIGN_OR_RETURN(query.end_time,
                        TimeOf(request.has_end_time(), request.end_time(), "end_time"));
  WEIR_ASSIGN_OR_RETURN(query.functions, FunctionsOf(request));
  if (request.kind() != v1::KIND_UNSPECIFIED) {
    if (!v1::Kind_IsValid(request.kind())) {
      return rpc::InvalidField("kind", StrCat(static_cast<int>(request.kind()), " is no kind"));
    }
    query.kind = static_cast<Kind>(request.kind());
  }
  return query;
}

// Domain to proto.

void SetTime(absl::Time time, Timestamp* timestamp) {
  time =
      std::clamp(time, absl::FromUnixSeconds(kFirstSeconds), absl::FromUnixSeconds(kLastSeconds));
  const int64_t seconds = absl::ToUnixSeconds(time);
  timestamp->set_seconds(seconds);
  timestamp->set_nanos(
      static_cast<int32_t>(absl::ToInt64Nanoseconds(time - absl::FromUnixSeconds(seconds))));
}

void SetSeconds(int64_t unix_seconds, Timestamp* timestamp) {
  timestamp->set_seconds(std::clamp(unix_seconds, kFirstSeconds, kLastSeconds));
}

template <typename Map>
void SetLabels(const std::vector<Label>& labels, Map* map) {
  for (const Label& label : labels) (*map)[label.name] = label.value;
}

void SetValue(Function function, double value, v1::Bin* bin) {
  switch (function) {
    case Function::kCount:
      return;  // always there
    case Function::kSum:
      return bin->set_sum(value);
    case Function::kAvg:
      return bin->set_avg(value);
    case Function::kMin:
      return bin->set_min(value);
    case Function::kMax:
      return bin->set_max(value);
    case Function::kLast:
      return bin->set_last(value);
    case Function::kRate:
      return bin->set_rate(value);
    case Function::kStddev:
      return bin->set_stddev(value);
  }
}

void SetBin(const BinAnswer& answer, int64_t start_seconds, const WindowQuery& query, Kind kind,
            int64_t bin_seconds, v1::Bin* bin) {
  SetSeconds(start_seconds, bin->mutable_start_time());
  const Aggregate& aggregate = answer.aggregate;
  bin->set_count(aggregate.count);
  if (aggregate.count == 0) return;
  for (const Function function : query.functions) {
    SetValue(function, ValueOf(function, kind, aggregate, bin_seconds), bin);
    if (function == Function::kSum && aggregate.float_count == 0) {
      bin->set_integer_sum(Int128ToString(aggregate.integer_sum));
    }
  }
  for (size_t i = 0; i < answer.quantiles.size(); ++i) {
    v1::QuantileValue* quantile = bin->add_quantiles();
    quantile->set_quantile(query.quantiles[i]);
    quantile->set_value(answer.quantiles[i]);
    quantile->set_relative_error(answer.relative_error);
  }
}

void SetResponse(const WindowAnswer& answer, const WindowQuery& query, bool omit_empty,
                 v1::QueryWindowResponse* response) {
  response->set_window(query.window);
  response->mutable_bin_duration()->set_seconds(answer.bin_seconds);
  SetSeconds(answer.start_seconds, response->mutable_start_time());
  SetSeconds(answer.end_seconds, response->mutable_end_time());
  SetSeconds(answer.kept_since_seconds, response->mutable_kept_since());
  for (const SeriesAnswer& series : answer.series) {
    v1::SeriesBins* message = response->add_series();
    SetLabels(series.labels, message->mutable_labels());
    message->set_kind(static_cast<v1::Kind>(series.kind));
    if (!omit_empty) message->mutable_bins()->Reserve(static_cast<int>(series.bins.size()));
    int64_t start_seconds = answer.start_seconds;
    for (const BinAnswer& bin : series.bins) {
      if (bin.aggregate.count > 0 || !omit_empty) {
        SetBin(bin, start_seconds, query, series.kind, answer.bin_seconds, message->add_bins());
      }
      start_seconds += answer.bin_seconds;
    }
  }
  if (answer.complete_until.has_value()) {
    SetTime(*answer.complete_until, response->mutable_complete_until());
  }
  for (const MissingLog& log : answer.missing) {
    v1::MissingSource* missing = response->add_missing();
    missing->set_wal_id(log.wal_id.ToHex());
    SetTime(log.heard_time, missing->mutable_heard_time());
    SetTime(log.complete_until, missing->mutable_complete_until());
  }
}

void SetResponse(const SeriesUsage& usage, const std::vector<MetricLabels>& labels,
                 v1::ListTopSeriesResponse* response) {
  response->set_series_count(usage.series_count);
  response->set_max_series(usage.limits.max_series_per_tenant);
  response->set_max_series_per_metric(usage.limits.max_series_per_metric);
  response->set_metric_count(usage.metric_count);
  response->set_overflowed_series_count(usage.overflowed_count);
  response->set_overflowed_series_cut(usage.overflowed_cut);
  for (size_t i = 0; i < usage.metrics.size(); ++i) {
    const MetricUsage& metric = usage.metrics[i];
    v1::TopMetric* top = response->add_metrics();
    top->set_name(metric.name);
    top->set_series_count(metric.series_count);
    top->set_overflowed_series_count(metric.overflowed_count);
    top->set_overflowing(metric.overflowing);
    top->set_scanned_series_count(labels[i].scanned_series_count);
    for (const LabelUsage& label : labels[i].labels) {
      v1::TopLabel* message = top->add_labels();
      message->set_name(label.name);
      message->set_value_count(label.value_count);
      message->mutable_example_values()->Add(label.examples.begin(), label.examples.end());
    }
  }
}

// The unit of a canonical metric; empty for any other.
std::string_view UnitOf(const AliasTable* aliases, const Series& series) {
  const AliasTable::Alias* alias =
      aliases == nullptr ? nullptr : aliases->Find(series.name, series.kind);
  return alias != nullptr && alias->metric == series.name ? alias->unit : "";
}

// A refusal with the details of its reason; any other status as it is.
absl::Status WithDetails(const absl::Status& status) {
  const std::optional<RefusalReason> refusal = RefusalReasonOf(status);
  if (!refusal.has_value()) return status;
  const RefusalMetadata metadata = RefusalMetadataOf(status);
  const std::string_view message = StdView(status.message());
  switch (*refusal) {
    case RefusalReason::kInvalidField:
      return rpc::InvalidField(metadata.at(0).second, message);
    case RefusalReason::kUnknownWindow:
      return rpc::Error(status.code(), v1::UNKNOWN_WINDOW, message, metadata);
    case RefusalReason::kInvalidPattern:
      return rpc::Error(status.code(), v1::INVALID_PATTERN, message, metadata);
    case RefusalReason::kKindMismatch:
      return rpc::Error(status.code(), v1::KIND_MISMATCH, message, metadata);
    case RefusalReason::kAnswerTooLarge:
      return rpc::Error(status.code(), v1::ANSWER_TOO_LARGE, message, metadata);
  }
  return status;
}

// A page token is the last id of the page, and a checksum of what was asked for,
// so that a token used with another request is refused instead of misread.

void AppendPart(std::string_view part, std::string* out) { StrAppend(out, part.size(), ":", part); }

absl::Status NotOfThisRequest() {
  return rpc::InvalidField("page_token", "is not of a page of the same request");
}

std::string ChecksumOf(const SeriesQuery& query) {
  std::string fields;
  AppendPart(query.tenant, &fields);
  AppendPart(query.name, &fields);
  for (const Label& label : query.labels) {
    AppendPart(label.name, &fields);
    AppendPart(label.value, &fields);
  }
  for (const LabelMatcher& matcher : query.matchers) {
    fields.push_back(matcher.exclude ? '!' : '=');
    AppendPart(matcher.label, &fields);
    AppendPart(matcher.pattern, &fields);
  }
  return absl::StrCat(absl::Hex(Crc32c(fields), absl::kZeroPad8));
}

std::string PageTokenOf(const SeriesQuery& query, const SeriesId& last) {
  return StrCat(last.ToHex(), ChecksumOf(query));
}

absl::StatusOr<SeriesId> AfterOf(const SeriesQuery& query, const std::string& token) {
  constexpr size_t kIdDigits = 32;
  if (token.size() > kIdDigits && token.substr(kIdDigits) == ChecksumOf(query)) {
    absl::StatusOr<SeriesId> after = SeriesId::FromHex(token.substr(0, kIdDigits));
    if (after.ok()) return after;
  }
  return NotOfThisRequest();
}

// Of a window, the labels of the last series take the place of the id. They are in
// the token as the bytes of a series without a name.

std::string ChecksumOf(v1::QueryWindowRequest request) {
  request.clear_page_token();
  request.clear_page_size();
  std::string fields;
  google::protobuf::io::StringOutputStream stream(&fields);
  google::protobuf::io::CodedOutputStream coded(&stream);
  coded.SetSerializationDeterministic(true);  // of the map of labels
  request.SerializeToCodedStream(&coded);
  coded.Trim();
  return absl::StrCat(absl::Hex(Crc32c(fields), absl::kZeroPad8));
}

std::string PageTokenOf(const v1::QueryWindowRequest& request, const SeriesAnswer& last) {
  std::string bytes;
  AppendSeries({.kind = last.kind, .labels = last.labels}, &bytes);
  return StrCat(ChecksumOf(request), absl::WebSafeBase64Escape(bytes));
}

absl::Status SetPage(const v1::QueryWindowRequest& request, WindowQuery* query) {
  constexpr size_t kChecksumDigits = 8;
  if (request.page_size() < 0) return rpc::InvalidField("page_size", "must not be negative");
  if (request.page_size() > 0) query->page_size = request.page_size();
  const std::string& token = request.page_token();
  if (token.empty()) return absl::OkStatus();
  if (token.size() > kChecksumDigits && token.substr(0, kChecksumDigits) == ChecksumOf(request)) {
    std::string bytes;
    absl::StatusOr<Series> last = absl::InvalidArgumentError("not base64");
    if (absl::WebSafeBase64Unescape(token.substr(kChecksumDigits), &bytes)) {
      last = ParseSeries(bytes);
    }
    if (last.ok()) {
      query->after = std::move(last->labels);
      return absl::OkStatus();
    }
  }
  return NotOfThisRequest();
}

absl::StatusOr<SeriesQuery> QueryOf(const v1::ListSeriesRequest& request,
                                    const std::string& tenant) {
  if (request.page_size() < 0) return rpc::InvalidField("page_size", "must not be negative");
  SeriesQuery query{.tenant = tenant,
                    .name = request.name(),
                    .labels = LabelsOf(request.labels()),
                    .matchers = MatchersOf(request.matchers()),
                    .limit = request.page_size() == 0
                                 ? kDefaultPageSize
                                 : std::min(request.page_size(), kMaxPageSize)};
  if (!request.page_token().empty()) {
    WEIR_ASSIGN_OR_RETURN(query.after, AfterOf(query, request.page_token()));
  }
  return query;
}

}  // namespace

QueryService::QueryService(QueryServiceOptions options, store::Store& store, const TierTable& tiers,
                           Clock& clock)
    : options_(std::move(options)),
      store_(store),
      tiers_(tiers),
      clock_(clock),
      pool_({.threads = options_.threads,
             .max_queued_count = static_cast<size_t>(options_.max_queued_queries)}) {}

absl::Status QueryService::Answer(const v1::QueryWindowRequest& request,
                                  v1::QueryWindowResponse* response) {
  WEIR_ASSIGN_OR_RETURN(WindowQuery query, QueryOf(request, options_.tenant));
  WEIR_RETURN_IF_ERROR(SetPage(request, &query));
  WEIR_ASSIGN_OR_RETURN(std::unique_ptr<store::Snapshot> snapshot, store_.OpenSnapshot());
  absl::StatusOr<WindowAnswer> answer =
      aggregator::QueryWindow(query, *snapshot, tiers_, clock_.Now(), options_.limits);
  if (!answer.ok()) return WithDetails(answer.status());
  SetResponse(*answer, query, request.omit_empty(), response);
  if (answer->more) response->set_next_page_token(PageTokenOf(request, answer->series.back()));
  return absl::OkStatus();
}

absl::Status QueryService::Answer(const v1::ListSeriesRequest& request,
                                  v1::ListSeriesResponse* response) {
  WEIR_ASSIGN_OR_RETURN(const SeriesQuery query, QueryOf(request, options_.tenant));
  WEIR_ASSIGN_OR_RETURN(std::unique_ptr<store::Snapshot> snapshot, store_.OpenSnapshot());
  absl::StatusOr<SeriesPage> page = aggregator::ListSeries(query, *snapshot, options_.limits);
  if (!page.ok()) return WithDetails(page.status());
  for (const store::SeriesRow& row : page->series) {
    v1::ListedSeries* series = response->add_series();
    series->set_series_id(row.id.ToHex());
    series->set_name(row.series.name);
    series->set_kind(static_cast<v1::Kind>(row.series.kind));
    SetLabels(row.series.labels, series->mutable_labels());
    series->set_unit(std::string(UnitOf(options_.aliases, row.series)));
  }
  if (page->next_after.has_value()) {
    response->set_next_page_token(PageTokenOf(query, *page->next_after));
  }
  return absl::OkStatus();
}

absl::Status QueryService::Answer(const v1::ListTopSeriesRequest& request,
                                  v1::ListTopSeriesResponse* response) {
  if (request.limit() < 0) return rpc::InvalidField("limit", "must not be negative");
  if (request.name().find('\0') != std::string::npos) {
    return rpc::InvalidField("name", "contains NUL");
  }
  if (options_.usage == nullptr) return absl::UnavailableError("the index of series is not here");
  const int limit =
      request.limit() == 0 ? kDefaultTopMetrics : std::min(request.limit(), kMaxTopMetrics);
  WEIR_ASSIGN_OR_RETURN(const SeriesUsage usage,
                        options_.usage({.tenant = options_.tenant,
                                        .name = request.name(),
                                        .limit = static_cast<size_t>(limit)}));
  WEIR_ASSIGN_OR_RETURN(std::unique_ptr<store::Snapshot> snapshot, store_.OpenSnapshot());
  WEIR_ASSIGN_OR_RETURN(
      const std::vector<MetricLabels> labels,
      FindTopLabels(options_.tenant, usage.metrics, *snapshot, options_.top_series_limits));
  SetResponse(usage, labels, response);
  return absl::OkStatus();
}

template <typename Request, typename Response>
grpc::ServerUnaryReactor* QueryService::Submit(grpc::CallbackServerContext* context,
                                               const grpc::ByteBuffer* bytes,
                                               grpc::ByteBuffer* out) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  // Request and response live until the reactor is finished.
  const bool submitted = pool_.TrySubmit([this, context, bytes, out, reactor] {
    // Nobody waits any more for a call that was cancelled or timed out in the
    // queue.
    if (context->IsCancelled()) return reactor->Finish(grpc::Status::CANCELLED);
    reactor->Finish(rpc::RawUnary<Request, Response>(
        *bytes, out,
        [this](const Request& request, Response* response) { return Answer(request, response); }));
  });
  if (!submitted) {
    const absl::Status refused =
        stopped_ ? rpc::Error(absl::StatusCode::kUnavailable, v1::SHUTTING_DOWN,
                              "the service is stopping")
                 : rpc::Error(absl::StatusCode::kUnavailable, v1::OVERLOADED,
                              StrCat(options_.max_queued_queries, " queries are waiting"));
    reactor->Finish(rpc::ToGrpc(rpc::WithRetryDelay(refused, options_.retry_delay)));
  }
  return reactor;
}

grpc::ServerUnaryReactor* QueryService::QueryWindow(grpc::CallbackServerContext* context,
                                                    const grpc::ByteBuffer* bytes,
                                                    grpc::ByteBuffer* out) {
  return Submit<v1::QueryWindowRequest, v1::QueryWindowResponse>(context, bytes, out);
}

grpc::ServerUnaryReactor* QueryService::ListSeries(grpc::CallbackServerContext* context,
                                                   const grpc::ByteBuffer* bytes,
                                                   grpc::ByteBuffer* out) {
  return Submit<v1::ListSeriesRequest, v1::ListSeriesResponse>(context, bytes, out);
}

grpc::ServerUnaryReactor* QueryService::ListTopSeries(grpc::CallbackServerContext* context,
                                                      const grpc::ByteBuffer* bytes,
                                                      grpc::ByteBuffer* out) {
  return Submit<v1::ListTopSeriesRequest, v1::ListTopSeriesResponse>(context, bytes, out);
}

void QueryService::Stop() {
  stopped_ = true;
  pool_.Stop();
}

}  // namespace weir::aggregator
