// Prometheus remote write 1.0 as Prometheus sends it: requests of so many samples, one
// of each series, on a few connections that each wait for their answer.
//
//   weir-bench-remote-write --target=127.0.0.1:4318 [--milliseconds=3000] [--samples=1000]
//                           [--connections=4] [--form=counter|gauge|native]
//
// Every request has a time of its own. Prints points acknowledged and how many a second.
#include <httplib.h>
#include <snappy-c.h>

#include <atomic>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "bench/measure.h"
#include "common/base/clock.h"
#include "prometheus/write_v1.pb.h"

namespace weir::bench {
namespace {

void AddLabel(const std::string& name, const std::string& value, prometheus::TimeSeries* series) {
  prometheus::Label* label = series->add_labels();
  label->set_name(name);
  label->set_value(value);
}

// One scrape's worth; connections write different series.
prometheus::WriteRequest MakeRequest(const std::string& form, int64_t samples, int connection) {
  prometheus::WriteRequest request;
  for (int64_t i = 0; i < samples; ++i) {
    prometheus::TimeSeries* series = request.add_timeseries();
    AddLabel("__name__", form == "counter" ? "bench_requests_total" : "bench_" + form, series);
    AddLabel("endpoint", "/v1/chat/completions", series);
    AddLabel("instance", "10.0.0." + std::to_string(connection) + ":8000", series);
    AddLabel("job", "vllm", series);
    AddLabel("model", "model-" + std::to_string(i), series);
    if (form != "native") {
      series->add_samples();
      continue;
    }
    prometheus::Histogram* histogram = series->add_histograms();
    histogram->set_schema(3);
    histogram->set_zero_count_int(0);
    prometheus::BucketSpan* span = histogram->add_positive_spans();
    span->set_offset(1);
    span->set_length(15);
  }
  return request;
}

void Stamp(int64_t time_ms, int64_t value, prometheus::WriteRequest* request) {
  for (prometheus::TimeSeries& series : *request->mutable_timeseries()) {
    for (prometheus::Sample& sample : *series.mutable_samples()) {
      sample.set_timestamp(time_ms);
      sample.set_value(static_cast<double>(value));
    }
    for (prometheus::Histogram& histogram : *series.mutable_histograms()) {
      histogram.set_timestamp(time_ms);
      histogram.set_count_int(static_cast<uint64_t>(15 * value));
      histogram.set_sum(static_cast<double>(150 * value));
      histogram.clear_positive_deltas();
      histogram.add_positive_deltas(value);
      for (int bucket = 1; bucket < 15; ++bucket) histogram.add_positive_deltas(0);
    }
  }
}

std::string Compressed(const std::string& plain) {
  std::string block(snappy_max_compressed_length(plain.size()), '\0');
  size_t length = block.size();
  snappy_compress(plain.data(), plain.size(), block.data(), &length);
  block.resize(length);
  return block;
}

}  // namespace
}  // namespace weir::bench

int main(int argc, char** argv) {
  using namespace weir::bench;
  const int64_t samples = IntFlag(argc, argv, "samples", 1000);
  const auto connections = static_cast<int>(IntFlag(argc, argv, "connections", 4));
  const std::string form = Flag(argc, argv, "form", "counter");
  const std::string target = Flag(argc, argv, "target", "127.0.0.1:4318");
  const absl::Duration begin = WallTime();
  const absl::Duration end = begin + absl::Milliseconds(IntFlag(argc, argv, "milliseconds", 3000));
  const int64_t start_ms = absl::ToUnixMillis(weir::Clock::System().Now()) - 300'000;
  std::atomic<int64_t> acknowledged{0};
  std::atomic<int64_t> failed{0};
  std::vector<std::thread> threads;
  for (int connection = 0; connection < connections; ++connection) {
    threads.emplace_back([&, connection] {
      httplib::Client client("http://" + target);
      client.set_keep_alive(true);
      client.set_tcp_nodelay(true);
      const httplib::Headers headers = {{"Content-Encoding", "snappy"},
                                        {"X-Prometheus-Remote-Write-Version", "0.1.0"}};
      prometheus::WriteRequest request = MakeRequest(form, samples, connection);
      for (int64_t number = 1; WallTime() < end; ++number) {
        Stamp(start_ms + number, number, &request);
        const httplib::Result answer =
            client.Post("/api/v1/write", headers, Compressed(request.SerializeAsString()),
                        "application/x-protobuf");
        if (answer && answer->status == 204) {
          acknowledged += samples;
        } else {
          ++failed;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  if (failed > 0) {
    std::fprintf(stderr, "%lld requests failed\n", static_cast<long long>(failed.load()));
    return 1;
  }
  const auto points = static_cast<double>(acknowledged.load());
  Print("points", points, "points");
  Print("points_per_second", points / absl::ToDoubleSeconds(WallTime() - begin), "points/s");
  return 0;
}
