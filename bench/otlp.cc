// OTLP exports as an SDK sends them: unary calls with so many points each, a few
// under way at once.
//
//   weir-bench-otlp --target=127.0.0.1:4317 [--milliseconds=3000] [--points=1000]
//                   [--outstanding=16] [--form=counter|total|histogram]
//
// Every request has a time of its own, as no two exports are alike. Prints points
// acknowledged and how many a second.
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "bench/measure.h"
#include "common/base/clock.h"
#include "opentelemetry/proto/collector/metrics/v1/metrics_service.grpc.pb.h"

namespace weir::bench {
namespace {

namespace otlp = opentelemetry::proto::collector::metrics::v1;
namespace metrics = opentelemetry::proto::metrics::v1;

constexpr int kModels = 10;

template <typename Point>
void SetIdentity(int64_t i, uint64_t start, Point* point) {
  point->set_start_time_unix_nano(start);
  for (const auto& [name, value] :
       {std::pair<const char*, std::string>("model", "model-" + std::to_string(i % kModels)),
        {"endpoint", "/v1/chat/completions"},
        {"replica", std::to_string(i / kModels)}}) {
    auto* attribute = point->add_attributes();
    attribute->set_key(name);
    attribute->mutable_value()->set_string_value(value);
  }
}

// One export's worth of points; their times and values are set for each call.
otlp::ExportMetricsServiceRequest MakeRequest(const std::string& form, int64_t points,
                                              uint64_t start) {
  otlp::ExportMetricsServiceRequest request;
  auto* resource = request.add_resource_metrics();
  auto* name = resource->mutable_resource()->add_attributes();
  name->set_key("service.name");
  name->mutable_value()->set_string_value("chat");
  auto* scope = resource->add_scope_metrics();
  scope->mutable_scope()->set_name("weir.bench");
  metrics::Metric* metric = scope->add_metrics();
  metric->set_name("bench.otlp." + form);
  if (form == "histogram") {
    auto* histogram = metric->mutable_histogram();
    histogram->set_aggregation_temporality(metrics::AGGREGATION_TEMPORALITY_DELTA);
    for (int64_t i = 0; i < points; ++i) {
      metrics::HistogramDataPoint* point = histogram->add_data_points();
      SetIdentity(i, start, point);
      point->set_count(15);
      point->set_sum(150);
      for (int bucket = 0; bucket < 15; ++bucket) {
        if (bucket > 0) point->add_explicit_bounds(bucket * 5);
        point->add_bucket_counts(1);
      }
    }
    return request;
  }
  metrics::Sum* sum = metric->mutable_sum();
  sum->set_is_monotonic(true);
  sum->set_aggregation_temporality(form == "total" ? metrics::AGGREGATION_TEMPORALITY_CUMULATIVE
                                                   : metrics::AGGREGATION_TEMPORALITY_DELTA);
  for (int64_t i = 0; i < points; ++i) SetIdentity(i, start, sum->add_data_points());
  return request;
}

void Stamp(uint64_t time, int64_t value, otlp::ExportMetricsServiceRequest* request) {
  metrics::Metric* metric =
      request->mutable_resource_metrics(0)->mutable_scope_metrics(0)->mutable_metrics(0);
  if (metric->has_histogram()) {
    for (auto& point : *metric->mutable_histogram()->mutable_data_points()) {
      point.set_time_unix_nano(time);
    }
    return;
  }
  for (auto& point : *metric->mutable_sum()->mutable_data_points()) {
    point.set_time_unix_nano(time);
    point.set_as_int(value);
  }
}

struct Load {
  std::unique_ptr<otlp::MetricsService::Stub> stub;
  absl::Duration end;
  uint64_t start_nano = 0;
  std::atomic<int64_t> calls{0};
  std::atomic<int64_t> failed{0};
  std::mutex mu;
  std::condition_variable done;
  int running = 0;
};

// One call at a time, over and over.
struct Caller {
  Load* load = nullptr;
  otlp::ExportMetricsServiceRequest request;
  otlp::ExportMetricsServiceResponse response;
  std::unique_ptr<grpc::ClientContext> context;

  void Call() {
    const int64_t number = ++load->calls;
    Stamp(load->start_nano + static_cast<uint64_t>(number) * 1000, number, &request);
    context = std::make_unique<grpc::ClientContext>();
    load->stub->async()->Export(context.get(), &request, &response,
                                [this](const grpc::Status& status) {
                                  if (!status.ok() || response.has_partial_success())
                                    ++load->failed;
                                  if (WallTime() < load->end) {
                                    Call();
                                    return;
                                  }
                                  const std::lock_guard<std::mutex> lock(load->mu);
                                  --load->running;
                                  load->done.notify_all();
                                });
  }
};

}  // namespace
}  // namespace weir::bench

int main(int argc, char** argv) {
  using namespace weir::bench;
  const int64_t points = IntFlag(argc, argv, "points", 1000);
  const int64_t outstanding = IntFlag(argc, argv, "outstanding", 16);
  const std::string form = Flag(argc, argv, "form", "counter");
  const double seconds = static_cast<double>(IntFlag(argc, argv, "milliseconds", 3000)) / 1000;
  Load load;
  load.stub = otlp::MetricsService::NewStub(grpc::CreateChannel(
      Flag(argc, argv, "target", "127.0.0.1:4317"), grpc::InsecureChannelCredentials()));
  load.start_nano = static_cast<uint64_t>(absl::ToUnixNanos(weir::Clock::System().Now()));
  std::vector<Caller> callers(static_cast<size_t>(outstanding));
  const otlp::ExportMetricsServiceRequest request = MakeRequest(form, points, load.start_nano);
  for (Caller& caller : callers) {
    caller.load = &load;
    caller.request = request;
  }
  const absl::Duration begin = WallTime();
  load.end = begin + absl::Seconds(seconds);
  load.running = static_cast<int>(outstanding);
  for (Caller& caller : callers) caller.Call();
  std::unique_lock<std::mutex> lock(load.mu);
  load.done.wait(lock, [&] { return load.running == 0; });
  if (load.failed > 0) {
    std::fprintf(stderr, "%lld of %lld exports failed\n",
                 static_cast<long long>(load.failed.load()),
                 static_cast<long long>(load.calls.load()));
    return 1;
  }
  const auto acknowledged = static_cast<double>(load.calls * points);
  Print("points", acknowledged, "points");
  Print("points_per_second", acknowledged / absl::ToDoubleSeconds(WallTime() - begin), "points/s");
  return 0;
}
