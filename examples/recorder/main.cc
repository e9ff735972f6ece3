// An application that records what it does: weir-example-recorder TARGET OPERATIONS
//
// It answers one imaginary request each millisecond, and ends with 0 when
// everything it recorded is on the collector's disk.
#include <cstdio>
#include <cstdlib>

#include "common/client/recorder.h"

int main(int argc, char** argv) {
  weir::Clock& clock = weir::Clock::System();
  auto recorder = weir::client::Recorder::Create(
      {.target = argc > 1 ? argv[1] : "127.0.0.1:4317", .labels = {{"service", "example"}}});
  if (!recorder.ok()) return 2;
  const weir::client::Counter tokens = (*recorder)->counter("tokens_used", {{"model", "gpt-5"}});
  const weir::client::Distribution ttft = (*recorder)->distribution("ttft_seconds");

  weir::Mutex mu;
  weir::CondVar never;
  const absl::Time start = clock.Now();
  const int64_t operations = argc > 2 ? std::atoll(argv[2]) : 10'000;
  for (int64_t i = 0; i < operations; ++i) {
    tokens.Add(i % 1000);
    ttft.Record(0.25 + static_cast<double>(i % 64) / 128);
    (*recorder)->RecordProcessingTime("answer", absl::Milliseconds(i % 100));
    (*recorder)->RecordQueueSize("requests", i % 17);
    (*recorder)->RecordVectorOperation("search", absl::Milliseconds(i % 8), i % 50);
    if (i % 10 == 0) (*recorder)->RecordError("timeout", "search");
    weir::MutexLock lock(&mu);
    while (clock.WaitUntil(&mu, &never, start + absl::Milliseconds(i))) continue;
  }
  (*recorder)->RecordProcessUsage();
  const absl::Status durable = (*recorder)->Stop(clock.Now() + absl::Seconds(60));
  const weir::client::RecorderStats stats = (*recorder)->stats();
  std::printf("%s: %lld of %lld samples acknowledged, %lld connections ended, %lld session(s)\n",
              durable.ToString().c_str(), static_cast<long long>(stats.acked_samples),
              static_cast<long long>(stats.recorded_samples),
              static_cast<long long>(stats.disconnects), static_cast<long long>(stats.sessions));
  return durable.ok() ? 0 : 1;
}
