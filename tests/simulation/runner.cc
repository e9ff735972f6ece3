#include "tests/simulation/runner.h"

#include <algorithm>
#include <atomic>
#include <thread>

#include "common/base/clock.h"
#include "common/base/mutex.h"

namespace weir::simulation {
namespace {

constexpr absl::Duration kProgressInterval = absl::Seconds(2);

class Runner {
 public:
  explicit Runner(const RunnerOptions& options) : options_(options), jobs_(options.jobs) {}

  Summary Run(const std::function<void(int64_t done, int64_t failed)>& progress) {
    std::vector<std::thread> threads;
    for (int i = 0; i < jobs_; ++i) threads.emplace_back([this] { Work(); });
    {
      MutexLock lock(&mu_);
      while (jobs_ > 0) {
        if (Clock::System().WaitUntil(&mu_, &changed_, Clock::System().Now() + kProgressInterval)) {
          continue;
        }
        if (progress) progress(summary_.seeds, static_cast<int64_t>(summary_.failures.size()));
      }
    }
    for (std::thread& thread : threads) thread.join();
    MutexLock lock(&mu_);
    std::sort(summary_.failures.begin(), summary_.failures.end(),
              [](const Failure& a, const Failure& b) { return a.seed < b.seed; });
    return summary_;
  }

 private:
  void Work() {
    while (true) {
      const int64_t index = next_.fetch_add(1);
      if (index >= options_.seeds) break;
      const uint64_t seed = options_.first_seed + static_cast<uint64_t>(index);
      Outcome outcome = RunSeed(seed, options_.mutant, options_.trace);
      MutexLock lock(&mu_);
      ++summary_.seeds;
      summary_.lost += outcome.lost;
      summary_.doubled += outcome.doubled;
      summary_.stuck += outcome.stuck ? 1 : 0;
      summary_.broken += outcome.broken ? 1 : 0;
      summary_.counts.Add(outcome.counts);
      if (!outcome.failed()) continue;
      summary_.failures.push_back({seed, std::move(outcome)});
      if (options_.stop_at_first_failure) next_ = options_.seeds;
    }
    MutexLock lock(&mu_);
    --jobs_;
    changed_.NotifyAll();
  }

  const RunnerOptions options_;
  std::atomic<int64_t> next_{0};

  Mutex mu_;
  CondVar changed_;
  int jobs_ ABSL_GUARDED_BY(mu_);
  Summary summary_ ABSL_GUARDED_BY(mu_);
};

}  // namespace

Summary RunSeeds(const RunnerOptions& options,
                 const std::function<void(int64_t done, int64_t failed)>& progress) {
  return Runner(options).Run(progress);
}

}  // namespace weir::simulation
