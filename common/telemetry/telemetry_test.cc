#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <sstream>
#include <thread>

#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/base/strings.h"
#include "common/telemetry/events.h"
#include "common/telemetry/log.h"
#include "common/telemetry/metrics.h"
#include "common/testing/fake_clock.h"

namespace weir::telemetry {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Keeps the lines logged during one test.
class LogCapture {
 public:
  LogCapture() {
    SetLogSink([this](Level, std::string_view line) {
      MutexLock lock(&mu_);
      lines_.emplace_back(line);
    });
  }
  ~LogCapture() {
    SetLogSink(nullptr);
    SetLogLevel(Level::kInfo);
  }
  std::vector<std::string> lines() {
    MutexLock lock(&mu_);
    return lines_;
  }

 private:
  Mutex mu_;
  std::vector<std::string> lines_ ABSL_GUARDED_BY(mu_);
};

std::string Line(std::string_view message, Fields fields) {
  return FormatLine(absl::FromUnixMillis(1'767'225'600'007), Level::kInfo, "wal", message, fields);
}

constexpr char kPrefix[] = "time=2026-01-01T00:00:00.007Z level=info component=wal msg=";

TEST(LogTest, ALineIsKeysAndValuesInOrder) {
  EXPECT_EQ(Line("segment sealed", {{"segment", 42},
                                    {"path", "/var/lib/000042"},
                                    {"ratio", 0.5},
                                    {"full", true},
                                    {"took", absl::Milliseconds(1500)},
                                    {"bytes", uint64_t{1} << 63}}),
            StrCat(kPrefix,
                   "\"segment sealed\" segment=42 path=/var/lib/000042 ratio=0.5 "
                   "full=true took=1.5s bytes=9223372036854775808"));
}

TEST(LogTest, AValueCannotForgeALineOrDriveATerminal) {
  EXPECT_EQ(Line("a\nlevel=error", {}), StrCat(kPrefix, "\"a\\nlevel=error\""));
  EXPECT_EQ(Line("x", {{"v", "say \"hi\" \\ a=b"}}),
            StrCat(kPrefix, "x v=\"say \\\"hi\\\" \\\\ a=b\""));
  EXPECT_EQ(Line("x", {{"v", std::string_view("\x1b[2J\r\t\0\x7f", 8)}}),
            StrCat(kPrefix, "x v=\"\\x1b[2J\\x0d\\t\\x00\\x7f\""));
  EXPECT_EQ(Line("x", {{"v", "\xc2\x9b C1 \xe2\x80\xa8"}}),
            StrCat(kPrefix, "x v=\"\\xc2\\x9b C1 \\xe2\\x80\\xa8\""));
  EXPECT_EQ(Line("x", {{"v", ""}}), StrCat(kPrefix, "x v=\"\""));
}

TEST(LogTest, Utf8StaysAndEverythingElseIsEscaped) {
  EXPECT_EQ(Line("x", {{"v", "Zürich 水 🙂"}}), StrCat(kPrefix, "x v=\"Zürich 水 🙂\""));
  EXPECT_EQ(Line("x", {{"v", "\xff\xc0\x80\xed\xa0\x80\xe6\xb0"}}),
            StrCat(kPrefix, "x v=\"\\xff\\xc0\\x80\\xed\\xa0\\x80\\xe6\\xb0\""));
}

TEST(LogTest, AStatusIsItsText) {
  EXPECT_THAT(Line("x", {{"error", absl::NotFoundError("no file")}}),
              HasSubstr("error=\"NOT_FOUND: no file\""));
}

TEST(LogTest, LinesBelowTheLevelAreNotWritten) {
  LogCapture capture;
  Log(Level::kDebug, "t", "one");
  Log(Level::kInfo, "t", "two");
  SetLogLevel(Level::kError);
  Log(Level::kWarning, "t", "three");
  Log(Level::kError, "t", "four");
  ASSERT_EQ(capture.lines().size(), 2u);
  EXPECT_THAT(capture.lines()[0], HasSubstr("level=info component=t msg=two"));
  EXPECT_THAT(capture.lines()[1], HasSubstr("level=error component=t msg=four"));
}

TEST(LogTest, LevelsHaveNames) {
  for (const Level level : {Level::kDebug, Level::kInfo, Level::kWarning, Level::kError}) {
    EXPECT_EQ(LevelFromName(LevelName(level)), level);
  }
  EXPECT_EQ(LevelFromName("loud"), std::nullopt);
}

TEST(LogLimiterTest, OneLinePerIntervalAndTheRestAreCounted) {
  LogLimiter limiter(absl::Seconds(1));
  const absl::Time now = test::FakeClock::Epoch();
  EXPECT_EQ(limiter.Admit(now), 0);
  EXPECT_EQ(limiter.Admit(now), std::nullopt);
  EXPECT_EQ(limiter.Admit(now + absl::Milliseconds(999)), std::nullopt);
  EXPECT_EQ(limiter.Admit(now + absl::Seconds(1)), 2);
  EXPECT_EQ(limiter.Admit(now + absl::Seconds(2)), 0);
}

TEST(LogLimiterTest, ThreadsThatRaceLoseNoCount) {
  LogLimiter limiter(absl::Hours(1));
  const absl::Time now = test::FakeClock::Epoch();
  std::atomic<int64_t> admitted = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 10'000; ++i) admitted += limiter.Admit(now).has_value() ? 1 : 0;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(admitted, 1);
  EXPECT_EQ(limiter.Admit(now + absl::Hours(1)), 39'999);
}

TEST(EventsTest, AnEventCountsAlwaysAndLogsAtMostOncePerInterval) {
  class ServiceEvents : public Events {
   public:
    ServiceEvents(Registry& registry, Clock& clock)
        : Events(registry, clock, "collector"),
          refused_(Event("weir_refused_batches_total", "Batches refused.",
                         {{"reason", "overloaded"}})) {}
    void BatchRefused(int64_t bytes) {
      Record(refused_, Level::kWarning, "batch refused", {{"bytes", bytes}});
    }

   private:
    EventSource refused_;
  };
  LogCapture capture;
  Registry registry;
  test::FakeClock clock;
  ServiceEvents events(registry, clock);
  for (int i = 0; i < 5; ++i) events.BatchRefused(10);
  clock.Advance(absl::Seconds(1));
  events.BatchRefused(11);
  EXPECT_THAT(registry.Render(),
              HasSubstr("weir_refused_batches_total{reason=\"overloaded\"} 6\n"));
  ASSERT_EQ(capture.lines().size(), 2u);
  EXPECT_THAT(capture.lines()[0], ::testing::EndsWith("msg=\"batch refused\" bytes=10"));
  EXPECT_THAT(capture.lines()[1],
              ::testing::EndsWith("msg=\"batch refused\" bytes=11 suppressed=4"));
}

// Reads the exposition as the format's documentation describes it, and fails
// the test where it departs: a second opinion on what Render writes.
std::map<std::string, double> ParseExposition(const std::string& text) {
  std::map<std::string, double> values;
  std::set<std::string> typed;
  std::string current;
  EXPECT_TRUE(text.empty() || text.back() == '\n');
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("# HELP ")) {
      current = line.substr(7, line.find(' ', 7) - 7);
      EXPECT_GT(line.size(), 8 + current.size()) << line;
      EXPECT_TRUE(typed.insert(current).second) << "twice: " << current;
      continue;
    }
    if (line.starts_with("# TYPE ")) {
      EXPECT_TRUE(line.starts_with("# TYPE " + current + " ")) << line;
      continue;
    }
    size_t i = line.find_first_of("{ ");
    EXPECT_TRUE(line.starts_with(current)) << line;
    if (line[i] == '{') {
      bool quoted = false;
      for (++i; quoted || line[i] != '}'; ++i) {
        if (i >= line.size()) {
          ADD_FAILURE() << line;
          return values;
        }
        if (quoted && line[i] == '\\') {
          ++i;
          EXPECT_TRUE(line[i] == '\\' || line[i] == '"' || line[i] == 'n') << line;
        } else if (line[i] == '"') {
          quoted = !quoted;
        }
      }
      ++i;
    }
    EXPECT_EQ(line[i], ' ') << line;
    const std::string number = line.substr(i + 1);
    char* end;
    const double value = std::strtod(number.c_str(), &end);
    EXPECT_EQ(*end, '\0') << line;
    EXPECT_TRUE(values.emplace(line.substr(0, i), value).second) << "twice: " << line;
  }
  return values;
}

TEST(MetricsTest, EachKindIsRenderedAsTheFormatSays) {
  Registry registry;
  registry.AddCounter("weir_batches_total", "Batches taken in.").Increment(7);
  registry.AddGauge("weir_queue_bytes", "Bytes\nqueued \\ now.").Set(2.5);
  Histogram& histogram = registry.AddHistogram("weir_fsync_seconds", "Time of an fsync.", {.1, 1},
                                               {{"disk", "a\"\\\nb"}});
  histogram.Observe(0.1);
  histogram.Observe(absl::Milliseconds(500));
  histogram.Observe(2.0);
  histogram.Observe(std::nan(""));
  EXPECT_EQ(registry.Render(),
            "# HELP weir_batches_total Batches taken in.\n"
            "# TYPE weir_batches_total counter\n"
            "weir_batches_total 7\n"
            "# HELP weir_fsync_seconds Time of an fsync.\n"
            "# TYPE weir_fsync_seconds histogram\n"
            "weir_fsync_seconds_bucket{disk=\"a\\\"\\\\\\nb\",le=\"0.1\"} 1\n"
            "weir_fsync_seconds_bucket{disk=\"a\\\"\\\\\\nb\",le=\"1\"} 2\n"
            "weir_fsync_seconds_bucket{disk=\"a\\\"\\\\\\nb\",le=\"+Inf\"} 3\n"
            "weir_fsync_seconds_sum{disk=\"a\\\"\\\\\\nb\"} 2.6\n"
            "weir_fsync_seconds_count{disk=\"a\\\"\\\\\\nb\"} 3\n"
            "# HELP weir_queue_bytes Bytes\\nqueued \\\\ now.\n"
            "# TYPE weir_queue_bytes gauge\n"
            "weir_queue_bytes 2.5\n");
  ParseExposition(registry.Render());
}

TEST(MetricsTest, TheSameNameAndLabelsAreTheSameMetric) {
  Registry registry;
  Counter& one = registry.AddCounter("weir_calls_total", "Calls.", {{"a", "1"}, {"b", "2"}});
  Counter& two = registry.AddCounter("weir_calls_total", "Calls.", {{"b", "2"}, {"a", "1"}});
  Counter& other = registry.AddCounter("weir_calls_total", "Calls.", {{"a", "1"}, {"b", "3"}});
  EXPECT_EQ(&one, &two);
  EXPECT_NE(&one, &other);
}

TEST(MetricsTest, LabelSetsBeyondTheLimitShareOneSeries) {
  Registry registry;
  for (int i = 0; i < 250; ++i) {
    registry.AddCounter("weir_calls_total", "Calls.", {{"peer", std::to_string(i)}}).Increment();
  }
  const auto values = ParseExposition(registry.Render());
  EXPECT_EQ(values.size(), Registry::kMaxLabelSets + 1);
  EXPECT_EQ(values.at("weir_calls_total{peer=\"other\"}"), 150);
}

TEST(MetricsTest, CallbacksAreAskedWhenRead) {
  Registry registry;
  double depth = 1;
  registry.AddCallbackGauge("weir_queue_depth", "Depth.", {}, [&] { return depth; });
  registry.AddCallbackCounter("weir_bytes_total", "Bytes.", {}, [&] { return depth * 2; });
  depth = std::numeric_limits<double>::infinity();
  EXPECT_THAT(registry.Render(), HasSubstr("weir_queue_depth +Inf\n"));
  depth = 3;
  const auto values = ParseExposition(registry.Render());
  EXPECT_EQ(values.at("weir_queue_depth"), 3);
  EXPECT_EQ(values.at("weir_bytes_total"), 6);
}

TEST(MetricsTest, CountsFromManyThreadsAddUpWhileOthersRead) {
  Registry registry;
  Counter& counter = registry.AddCounter("weir_calls_total", "Calls.");
  Histogram& histogram = registry.AddHistogram("weir_call_seconds", "Time.", LatencyBounds());
  Gauge& gauge = registry.AddGauge("weir_open", "Open.");
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20'000; ++i) {
        counter.Increment();
        histogram.Observe(0.5);
        gauge.Add(i % 2 == 0 ? 1 : -1);
      }
    });
  }
  for (int i = 0; i < 50; ++i) ParseExposition(registry.Render());
  for (std::thread& thread : threads) thread.join();
  const auto values = ParseExposition(registry.Render());
  EXPECT_EQ(values.at("weir_calls_total"), 60'000);
  EXPECT_EQ(values.at("weir_call_seconds_count"), 60'000);
  EXPECT_EQ(values.at("weir_call_seconds_sum"), 30'000);
  EXPECT_EQ(values.at("weir_open"), 0);
}

TEST(MetricsTest, BoundsAreWhatTheirNamesSay) {
  EXPECT_THAT(ExponentialBounds(1, 4, 4), ElementsAre(1, 4, 16, 64));
  EXPECT_EQ(LatencyBounds().front(), 1e-4);
  EXPECT_EQ(LatencyBounds().back(), 10);
}

TEST(MetricsTest, EveryProcessHasTheUsualMetrics) {
  Registry registry;
  AddProcessMetrics(registry, "weir-test");
  const auto values = ParseExposition(registry.Render());
  EXPECT_GT(values.at("process_resident_memory_bytes"), 1e6);
  EXPECT_GE(values.at("process_cpu_seconds_total"), 0);
  EXPECT_GE(values.at("process_open_fds"), 3);
  const double now = absl::ToDoubleSeconds(Clock::System().Now() - absl::UnixEpoch());
  EXPECT_LT(std::abs(values.at("process_start_time_seconds") - now), 600);
  EXPECT_EQ(
      registry
          .AddGauge("weir_build_info", "x", {{"service", "weir-test"}, {"version", WEIR_VERSION}})
          .value(),
      1);
}

using MetricsDeathTest = ::testing::Test;

TEST(MetricsDeathTest, MisusedNamesCrashAtStart) {
  Registry registry;
  EXPECT_DEATH(registry.AddCounter("weir_calls", "Calls."), "weir_calls");
  EXPECT_DEATH(registry.AddGauge("weir_calls_total", "Calls."), "weir_calls_total");
  EXPECT_DEATH(registry.AddGauge("weir-calls", "Calls."), "weir-calls");
  EXPECT_DEATH(registry.AddGauge("weir_calls", ""), "weir_calls");
  registry.AddGauge("weir_open", "Open.");
  EXPECT_DEATH(registry.AddHistogram("weir_open", "Open.", {1}), "weir_open");
}

}  // namespace
}  // namespace weir::telemetry
