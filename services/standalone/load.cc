#include "services/standalone/load.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/standalone/load_connection.h"
#include "services/standalone/load_options.h"
#include "services/standalone/load_report.h"

namespace weir::standalone {
namespace {

volatile std::sig_atomic_t interrupted = 0;

// Notes SIGINT and SIGTERM for as long as it lives. A second one ends the
// process as usual.
class InterruptScope {
 public:
  InterruptScope() {
    interrupted = 0;
    struct sigaction action = {};
    action.sa_handler = [](int) { interrupted = 1; };
    action.sa_flags = static_cast<int>(SA_RESETHAND);
    sigaction(SIGINT, &action, &old_int_);
    sigaction(SIGTERM, &action, &old_term_);
  }
  ~InterruptScope() {
    sigaction(SIGINT, &old_int_, nullptr);
    sigaction(SIGTERM, &old_term_, nullptr);
  }
  InterruptScope(const InterruptScope&) = delete;
  InterruptScope& operator=(const InterruptScope&) = delete;

 private:
  struct sigaction old_int_;
  struct sigaction old_term_;
};

// Sessions must not be confused with those of another run, whatever its seed.
std::string RandomSessionId() {
  std::random_device device;
  std::string id;
  while (id.size() < 16) {
    const uint32_t word = device();
    id.append(reinterpret_cast<const char*>(&word), sizeof word);
  }
  return id;
}

absl::Duration CpuTime() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return absl::DurationFromTimeval(usage.ru_utime) + absl::DurationFromTimeval(usage.ru_stime);
}

// A line that replaces the one before it on a terminal, and a plain one anywhere
// else.
class Progress {
 public:
  void Print(const std::string& line) {
    if (terminal_) {
      std::fprintf(stderr, "\r\x1b[K%s", line.c_str());
    } else {
      std::fprintf(stderr, "%s\n", line.c_str());
    }
    std::fflush(stderr);
    printed_ = true;
  }
  void End() {
    if (terminal_ && printed_) std::fputs("\n", stderr);
  }

 private:
  const bool terminal_ = isatty(STDERR_FILENO) != 0;
  bool printed_ = false;
};

// A running load: its connections, and what they have told so far.
class Load {
 public:
  Load(const LoadOptions& options, Clock& clock)
      : options_(options), clock_(clock), start_(clock.Now()), cpu_start_(CpuTime()) {
    for (int number = 0; number < options.connections; ++number) {
      connections_.push_back(std::make_unique<LoadConnection>(options, number, RandomSessionId(),
                                                              start_, clock, mu_, changed_));
    }
  }

  LoadSummary Run() {
    for (auto& connection : connections_) connection->Start();
    absl::Time next_progress = start_ + absl::Seconds(1);
    absl::Time give_up = start_ + options_.stall_timeout;
    bool finishing = false;
    int64_t acked = 0;
    while (!Over()) {
      const absl::Time now = clock_.Now();
      if (!Stalled(&acked)) give_up = now + options_.stall_timeout;
      if (now >= give_up) break;
      if (interrupted && !finishing) {
        finishing = true;
        for (auto& connection : connections_) connection->Finish();
      }
      if (now >= next_progress) {
        PrintProgress(now);
        next_progress = now + absl::Seconds(1);
      }
      // Signals do not end this wait, so it is a short one.
      MutexLock lock(&mu_);
      clock_.WaitUntil(&mu_, &changed_,
                       std::min({next_progress, give_up, now + absl::Milliseconds(100)}));
    }
    progress_.End();
    LoadSummary summary;
    summary.complete = AllDone();
    summary.error = Error();
    LoadCounts interval;
    for (auto& connection : connections_) connection->AddCounts(&summary.counts, &interval);
    for (auto& connection : connections_) connection->Stop();
    if (summary.counts.acked_samples == 0) summary.complete = false;
    summary.elapsed = std::max(summary.counts.last_ack_time - start_, absl::ZeroDuration());
    summary.client_cpu_time = CpuTime() - cpu_start_;
    return summary;
  }

 private:
  bool AllDone() const {
    return std::all_of(connections_.begin(), connections_.end(),
                       [](const auto& connection) { return connection->done(); });
  }

  // Nothing more will happen: every connection is done, or one has failed.
  bool Over() const {
    return AllDone() || std::any_of(connections_.begin(), connections_.end(),
                                    [](const auto& c) { return !c->error().ok(); });
  }

  // Nothing was acknowledged since the last call, although something should be.
  bool Stalled(int64_t* acked_before) const {
    int64_t acked = 0;
    bool waiting = false;
    for (const auto& connection : connections_) {
      acked += connection->acked_batches();
      waiting |= connection->waiting();
    }
    return std::exchange(*acked_before, acked) == acked && waiting;
  }

  std::string Error() const {
    for (const auto& connection : connections_) {
      if (!connection->error().ok()) return connection->error().ToString();
    }
    return Trouble();
  }

  // Why a connection is not served; empty when all are, or are not tried yet.
  std::string Trouble() const {
    for (const auto& connection : connections_) {
      const absl::Status last = connection->last_disconnect();
      if (connection->waiting() && !last.ok()) return last.ToString();
    }
    return "";
  }

  void PrintProgress(absl::Time now) {
    LoadCounts total, interval;
    for (auto& connection : connections_) connection->AddCounts(&total, &interval);
    std::string line = ProgressLine(now - start_, total, interval, now - last_progress_);
    if (interval.acked_batches == 0 && !Trouble().empty()) absl::StrAppend(&line, "  ", Trouble());
    progress_.Print(line);
    last_progress_ = now;
  }

  const LoadOptions options_;
  Clock& clock_;
  const absl::Time start_;
  const absl::Duration cpu_start_;
  absl::Time last_progress_ = start_;
  Progress progress_;

  Mutex mu_;  // guards nothing but the wait
  CondVar changed_;
  std::vector<std::unique_ptr<LoadConnection>> connections_;
};

}  // namespace

int RunLoad(const std::vector<std::string>& arguments, Clock& clock) {
  const auto parsed = ParseLoadOptions(arguments);
  if (!parsed.ok()) {
    std::fprintf(stderr, "weir load: %s\n", std::string(parsed.status().message()).c_str());
    return 2;
  }
  if (parsed->print_and_exit.has_value()) {
    std::fputs(parsed->print_and_exit->c_str(), stdout);
    return 0;
  }
  const LoadOptions& options = parsed->options;
  const InterruptScope interrupt;
  const LoadSummary summary = Load(options, clock).Run();
  std::fputs(SummaryText(options, summary).c_str(), stdout);
  if (!options.json_path.empty()) {
    std::FILE* const file = std::fopen(options.json_path.c_str(), "w");
    const bool written =
        file != nullptr && std::fputs((SummaryJson(options, summary) + "\n").c_str(), file) >= 0;
    if ((file != nullptr && std::fclose(file) != 0) || !written) {
      std::fprintf(stderr, "weir load: cannot write %s\n", options.json_path.c_str());
      return 1;
    }
  }
  return summary.complete ? 0 : 1;
}

}  // namespace weir::standalone
