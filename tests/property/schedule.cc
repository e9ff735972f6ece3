// Clients are drawn first: a series has a manner (what its points are) and, for
// running totals, a few writers, each a process with a start, a total and a memory
// of what it has sent. Most of the time a writer goes on; now and then it does one
// of the things that clients do and should not.
#include "tests/property/schedule.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/random.h"

namespace weir::property {
namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kMinute = 60 * kSecond;
constexpr int64_t kHour = 60 * kMinute;
constexpr int64_t kDay = 24 * kHour;

int64_t Below(Random& random, int64_t limit) {
  return static_cast<int64_t>(random.Below(static_cast<uint64_t>(limit)));
}

template <typename T, size_t n>
const T& OneOf(Random& random, const T (&choices)[n]) {
  return choices[random.Below(n)];
}

// --- Values --------------------------------------------------------------------

int64_t DrawInteger(Random& random, bool negative_too) {
  int64_t value = Below(random, 1000);
  if (random.OneIn(8)) value = 0;
  if (random.OneIn(20)) value = Below(random, int64_t{1} << 56);
  return negative_too && random.OneIn(2) ? -value : value;
}

// Any double between 2^-10 and 2^20 in size, or zero.
double DrawFloat(Random& random, bool negative_too) {
  if (random.OneIn(12)) return 0;
  const double value = std::ldexp(1 + random.Fraction(), static_cast<int>(random.Below(30)) - 10);
  return negative_too && random.OneIn(2) ? -value : value;
}

// Sums of these are exact, in any order.
double DrawObserved(Random& random, bool negative_too) {
  if (random.OneIn(12)) return 0;
  const double value = std::ldexp(1 + static_cast<double>(random.Below(8)) / 8,
                                  static_cast<int>(random.Below(16)) - 6);
  return negative_too && random.OneIn(2) ? -value : value;
}

// --- Histograms ----------------------------------------------------------------

// How a client counts what it observes.
struct Shape {
  bool exponential = false;
  std::vector<double> bounds;
  int scale = 0;
  double zero_threshold = 0;
  bool buckets = true;
  bool sum = true;
  bool extremes = false;
};

Shape DrawShape(Random& random) {
  static const std::vector<double> kBounds[] = {{1, 2, 4, 8, 16, 64, 256}, {0.5, 5, 50}, {1, 8, 64},
                                                {-10, -1, 0, 1, 10},       {100},        {}};
  return {.exponential = random.OneIn(2),
          .bounds = OneOf(random, kBounds),
          .scale = static_cast<int>(random.Below(7)),
          .zero_threshold = random.OneIn(3) ? (random.OneIn(2) ? 0x1p-3 : 0x1p-5) : 0,
          .buckets = !random.OneIn(10),
          .sum = !random.OneIn(6),
          .extremes = random.OneIn(2)};
}

ExponentialBuckets CountExponentially(const Shape& shape, const std::vector<double>& observed) {
  ExponentialBuckets buckets = {.scale = shape.scale, .zero_threshold = shape.zero_threshold};
  for (const int sign : {-1, 1}) {
    std::vector<int32_t> indexes;
    for (const double value : observed) {
      const double size = value * sign;
      if (size <= 0 || size <= shape.zero_threshold) continue;
      indexes.push_back(static_cast<int32_t>(std::ceil(std::log2(size) * std::exp2(shape.scale))) -
                        1);
    }
    if (indexes.empty()) continue;
    const auto [lowest, highest] = std::minmax_element(indexes.begin(), indexes.end());
    ExponentialBuckets::Side& side = sign < 0 ? buckets.negative : buckets.positive;
    side.offset = *lowest;
    side.counts.resize(static_cast<size_t>(*highest - *lowest + 1), 0);
    for (const int32_t index : indexes) ++side.counts[static_cast<size_t>(index - side.offset)];
  }
  buckets.zero_count = std::count_if(observed.begin(), observed.end(), [&](double value) {
    return std::abs(value) <= shape.zero_threshold;
  });
  return buckets;
}

Histogram CountOf(const Shape& shape, const std::vector<double>& observed) {
  Histogram histogram = {.count = static_cast<int64_t>(observed.size())};
  if (shape.exponential) {
    histogram.buckets = CountExponentially(shape, observed);
  } else if (shape.buckets) {
    ExplicitBuckets buckets = {.bounds = shape.bounds};
    buckets.counts.resize(shape.bounds.size() + 1, 0);
    for (const double value : observed) {
      const auto bound = std::lower_bound(shape.bounds.begin(), shape.bounds.end(), value);
      ++buckets.counts[static_cast<size_t>(bound - shape.bounds.begin())];
    }
    histogram.buckets = std::move(buckets);
  }
  double sum = 0;
  for (const double value : observed) sum += value;
  if (shape.sum) histogram.sum = sum;
  if (shape.extremes && !observed.empty()) {
    histogram.min = *std::min_element(observed.begin(), observed.end());
    histogram.max = *std::max_element(observed.begin(), observed.end());
  }
  return histogram;
}

// --- Clients -------------------------------------------------------------------

// What the points of a series are.
enum class Manner { kSamples, kDeltas, kTotals, kAll };

class Writer {
 public:
  Writer(Kind kind, int64_t now, Random& random)
      : kind_(kind), floats_(random.OneIn(2)), shape_(DrawShape(random)) {
    // Some tell of times long past: a backfill, or a queue that was stuck.
    constexpr int64_t kBacklogs[] = {2 * kHour, 3 * kDay, 40 * kDay, 399 * kDay};
    behind_ = random.OneIn(8) ? Below(random, OneOf(random, kBacklogs)) : 0;
    last_time_ = now - behind_ - Below(random, kMinute);
    Begin(random);
  }

  // What it sends next.
  Sent Draw(int64_t now, Random& random) {
    if (!sent_.empty() && random.OneIn(12)) return sent_[random.Below(sent_.size())];
    int64_t time = NextTime(now, random);
    if (!sent_.empty()) Misbehave(&time, random);
    Add(random);
    Sent sent = {.time_unix_nano = time,
                 .as_point = true,
                 .point = {.cumulative = true, .start_unix_nano = start_, .value = Total()}};
    if (random.OneIn(30)) sent.point.start_unix_nano = time;
    if (random.OneIn(30)) sent.point.start_unix_nano = 0;
    last_time_ = std::max(last_time_, time);
    sent_.push_back(sent);
    return sent;
  }

 private:
  int64_t NextTime(int64_t now, Random& random) {
    const int64_t reached = std::max(last_time_ + 1, now - behind_);
    if (random.OneIn(10)) return last_time_ - Below(random, 2 * kMinute);  // out of order
    return std::max(last_time_ + 1, reached - Below(random, 30 * kSecond));
  }

  void Begin(Random& random) {
    integer_ = 0;
    float_ = 0;
    observed_.clear();
    switch (random.Below(8)) {
      case 0:
        start_ = 0;
        break;
      case 1:  // days before it was heard of
        start_ = last_time_ - Below(random, 3 * kDay);
        break;
      case 2:  // at the edge of what counts in full
        start_ = last_time_ - 10 * kMinute + static_cast<int64_t>(random.Below(3)) - 1;
        break;
      default:
        start_ = last_time_ - Below(random, 2 * kMinute);
    }
  }

  void Misbehave(int64_t* time, Random& random) {
    switch (random.Below(16)) {
      case 0:
      case 1:  // a new start, after the last point or a little before it
        Begin(random);
        start_ = std::max(int64_t{1}, last_time_ - 3 * kSecond + Below(random, 20 * kSecond));
        if (random.OneIn(3)) start_ = last_time_;
        *time = std::max(*time, start_ + (random.OneIn(10) ? 0 : 1 + Below(random, kMinute)));
        break;
      case 2:
      case 3:  // begins anew, and says nothing of it
        integer_ = random.OneIn(4) ? integer_ : 0;
        float_ = 0;
        observed_.clear();
        break;
      case 4:
        Begin(random);
        break;
      case 5:
        shape_ = DrawShape(random);
        floats_ = !floats_;
        break;
      case 6:  // what exponential histograms do as they grow
        shape_.scale = std::max(0, shape_.scale - static_cast<int>(random.Below(3)));
        shape_.zero_threshold = std::max(shape_.zero_threshold, 0x1p-4);
        break;
      default:
        break;
    }
  }

  void Add(Random& random) {
    const bool signed_too = kind_ == Kind::kUpDownCounter;
    if (kind_ == Kind::kDistribution) {
      for (int64_t i = Below(random, 6); i > 0; --i) {
        observed_.push_back(DrawObserved(random, shape_.exponential || shape_.bounds.size() == 5));
      }
    } else if (floats_) {
      float_ += DrawFloat(random, signed_too);
    } else {
      integer_ += DrawInteger(random, signed_too);
    }
  }

  PointValue Total() const {
    if (kind_ == Kind::kDistribution) return CountOf(shape_, observed_);
    if (floats_) return float_ + static_cast<double>(integer_);
    return integer_;
  }

  const Kind kind_;
  bool floats_;
  Shape shape_;
  int64_t behind_ = 0;
  int64_t start_ = 0;
  int64_t last_time_ = 0;
  int64_t integer_ = 0;
  double float_ = 0;
  std::vector<double> observed_;
  std::vector<Sent> sent_;
};

class Client {
 public:
  Client(int number, Kind kind, Random& random)
      : number_(number), kind_(kind), manner_(DrawManner(kind, random)) {}

  Sent Draw(int64_t now, Random& random) {
    Sent sent = DrawPoint(now, random);
    sent.series = number_;
    return sent;
  }

 private:
  static Manner DrawManner(Kind kind, Random& random) {
    constexpr Manner kManners[] = {Manner::kSamples, Manner::kDeltas, Manner::kTotals,
                                   Manner::kTotals, Manner::kAll};
    return kind == Kind::kGauge ? Manner::kSamples : OneOf(random, kManners);
  }

  Sent DrawPoint(int64_t now, Random& random) {
    Manner manner = manner_;
    if (manner == Manner::kAll) manner = static_cast<Manner>(random.Below(3));
    if (manner == Manner::kTotals) {
      if (writers_.empty() || (writers_.size() < 6 && random.OneIn(12))) {
        writers_.emplace_back(kind_, now, random);
      }
      return writers_[random.Below(writers_.size())].Draw(now, random);
    }
    Sent sent = {.time_unix_nano = DrawTime(now, random)};
    if (manner == Manner::kDeltas) {
      sent.as_point = true;
      if (kind_ == Kind::kDistribution) {
        const Shape shape = DrawShape(random);
        std::vector<double> observed;
        for (int64_t i = Below(random, 8); i > 0; --i) {
          observed.push_back(DrawObserved(random, shape.exponential || shape.bounds.size() == 5));
        }
        sent.point.value = CountOf(shape, observed);
        return sent;
      }
    }
    const bool signed_too = kind_ != Kind::kCounter;
    if (random.OneIn(2)) {
      sent.point.value = DrawInteger(random, signed_too) % (int64_t{1} << 20);
      if (kind_ != Kind::kDistribution) sent.point.value = DrawInteger(random, signed_too);
    } else {
      sent.point.value = DrawFloat(random, signed_too);
    }
    return sent;
  }

  static int64_t DrawTime(int64_t now, Random& random) {
    // Up to the longest tier's retention, and at times past it or in the future.
    constexpr int64_t kLateness[] = {2 * kHour, 2 * kDay, 10 * kDay, 110 * kDay, 420 * kDay};
    int64_t time = now - Below(random, kMinute);
    if (random.OneIn(4)) time = now - Below(random, OneOf(random, kLateness));
    if (random.OneIn(20)) time = now + Below(random, 5 * kMinute);
    if (random.OneIn(10)) {
      // The edges of bins, which are those of days now and then.
      time -= time % (random.OneIn(3) ? kDay : 10 * kSecond);
      time -= static_cast<int64_t>(random.Below(2));
    }
    return time;
  }

  const int number_;
  const Kind kind_;
  const Manner manner_;
  std::vector<Writer> writers_;
};

// --- The schedule --------------------------------------------------------------

class Drawing {
 public:
  explicit Drawing(uint64_t seed) : random_(seed) {
    schedule_.seed = seed;
    schedule_.start = absl::FromUnixSeconds(1'700'000'000 + Below(random_, 400 * 86'400));
    schedule_.slot_count = static_cast<int>(random_.Between(1, 3));
    schedule_.log_count = static_cast<int>(random_.Between(1, 2));
    schedule_.cumulative = {.max_starts = random_.OneIn(4) ? size_t{2} : size_t{4}};
    schedule_.derive_delay = absl::Seconds(random_.Below(20));
    schedule_.derive_rows_per_job = random_.OneIn(3) ? 2 : 1000;
    schedule_.retention_rows_per_step = static_cast<int64_t>(random_.Between(1, 50));
    constexpr int64_t kIntervals[] = {60, 3600, 86'400, 40 * 86'400};
    schedule_.retention_interval = absl::Seconds(OneOf(random_, kIntervals));
    // How much time a case has: minutes to more than the longest tier keeps.
    constexpr int64_t kSpans[] = {kHour, kDay, 10 * kDay, 60 * kDay, 60 * kDay, 450 * kDay};
    span_ = OneOf(random_, kSpans);
    constexpr int64_t kSteps[] = {6 * kHour, 20 * kDay, 20 * kDay, 200 * kDay};
    schedule_.derive_step = absl::Nanoseconds(std::max(OneOf(random_, kSteps), span_ / 4));
    now_ = absl::ToUnixNanos(schedule_.start);

    const auto series_count = static_cast<int>(random_.Between(2, 6));
    for (int i = 0; i < series_count; ++i) {
      const Kind kind = static_cast<Kind>(random_.Between(1, kMaxKind));
      schedule_.series.push_back({.tenant = "t",
                                  .name = absl::StrCat("a.", std::string(KindName(kind))),
                                  .kind = kind,
                                  .labels = {{"i", absl::StrCat(i)}}});
      clients_.emplace_back(i, kind, random_);
    }
  }

  Schedule Draw() && {
    const int64_t rounds = 3 + Below(random_, 12);
    for (int64_t round = 0; round < rounds; ++round) {
      DrawRound(std::max<int64_t>(2 * kMinute, 2 * span_ / rounds));
    }
    Add({.what = Step::What::kReconnect});
    if (schedule_.log_count > 1) Add({.what = Step::What::kReconnect, .log = 1});
    Add({.what = Step::What::kSettle, .count = 100});
    if (random_.OneIn(2)) Add({.what = Step::What::kCheck});
    // And retention passes over it.
    constexpr int64_t kLeaps[] = {kHour, 2 * kDay, 10 * kDay, 120 * kDay, 410 * kDay};
    Wait(Below(random_, OneOf(random_, kLeaps)));
    Add({.what = Step::What::kSettle, .count = 100});
    if (random_.OneIn(2)) Wait(50 * kDay);
    Add({.what = Step::What::kSettle, .count = 100});
    Add({.what = Step::What::kCheck});
    return std::move(schedule_);
  }

 private:
  void Add(Step step) { schedule_.steps.push_back(std::move(step)); }

  void Wait(int64_t nanos) {
    now_ += nanos;
    Add({.what = Step::What::kWait, .wait = absl::Nanoseconds(nanos)});
  }

  int DrawLog() {
    return static_cast<int>(random_.Below(static_cast<uint64_t>(schedule_.log_count)));
  }

  void DrawRound(int64_t longest) {
    Wait(Below(random_, random_.OneIn(3) ? 20 * kSecond : longest));
    for (int64_t frames = Below(random_, 4); frames > 0; --frames) DrawFrame(now_);
    for (int64_t i = Below(random_, 6); i > 0; --i) DrawTrouble();
    if (random_.OneIn(2))
      Add({.what = Step::What::kSettle, .count = static_cast<int>(random_.Below(60))});
    if (random_.OneIn(30)) Add({.what = Step::What::kCheck});
  }

  // Most of its points are of about `time`.
  void DrawFrame(int64_t time) {
    Step step = {.what = Step::What::kFrame, .log = DrawLog(), .new_segment = random_.OneIn(8)};
    for (uint64_t i = random_.Between(1, 10); i > 0; --i) {
      step.sent.push_back(clients_[random_.Below(clients_.size())].Draw(time, random_));
    }
    Add(std::move(step));
  }

  void DrawTrouble() {
    switch (random_.Below(12)) {
      case 0:
      case 1:
      case 2:
        return Add({.what = Step::What::kJob, .outcome = static_cast<Outcome>(random_.Below(3))});
      case 3:
      case 4:
        return Wait(Below(random_, 15 * kSecond));
      case 5:
        return Add({.what = Step::What::kHeartbeat, .log = DrawLog()});
      case 6:
        return Add({.what = Step::What::kReconnect, .log = DrawLog()});
      case 7:
        if (random_.OneIn(3)) Add({.what = Step::What::kHangUp, .log = DrawLog()});
        return;
      case 8:
        return Add(
            {.what = Step::What::kCrash, .last_job = static_cast<LastJob>(random_.Below(3))});
      case 9:
        if (random_.OneIn(2)) Add({.what = Step::What::kRestart});
        return;
      case 10:
        if (random_.OneIn(2)) DrawRetirement();
        return;
      default:
        return DrawFrame(now_);
    }
  }

  // Floors that rise between what was and what is told of it: a flush that took it
  // for kept must notice.
  void DrawRetirement() {
    constexpr int64_t kWaits[] = {2 * kHour, 2 * kDay, 10 * kDay};
    Add({.what = Step::What::kSettle, .count = 30});
    const int64_t before = now_;
    Wait(Below(random_, OneOf(random_, kWaits)));
    Add({.what = Step::What::kRetire});
    // Near the floor of the finest tier, or of the longest.
    DrawFrame(random_.OneIn(2) ? before : now_ - 400 * kDay + Below(random_, kDay));
    for (int64_t i = Below(random_, 3); i > 0; --i) Add({.what = Step::What::kJob});
  }

  Random random_;
  Schedule schedule_;
  std::vector<Client> clients_;
  int64_t span_ = 0;
  int64_t now_ = 0;
};

std::string DescribeSent(const Sent& sent, int64_t now) {
  std::string text = absl::StrCat(
      sent.series, "@", absl::FormatDuration(absl::Nanoseconds(sent.time_unix_nano - now)));
  if (sent.point.cumulative) {
    const int64_t start = sent.point.start_unix_nano;
    absl::StrAppend(&text, " since ",
                    start == 0 ? "?" : absl::FormatDuration(absl::Nanoseconds(start - now)));
  }
  return absl::StrCat(text, sent.as_point && !sent.point.cumulative ? " +" : " ",
                      Describe(sent.point.value));
}

}  // namespace

Schedule DrawSchedule(uint64_t seed) { return Drawing(seed).Draw(); }

std::string Describe(const Schedule& schedule) {
  static const char* const kWhat[] = {"frame",   "wait",      "heartbeat", "job",
                                      "settle",  "reconnect", "hang up",   "crash",
                                      "restart", "retire",    "check"};
  static const char* const kOutcome[] = {"done", "reply lost", "not run"};
  static const char* const kLastJob[] = {"its job never runs", "its job runs before",
                                         "its job runs after"};
  std::string text = absl::StrCat(
      "case ", schedule.seed, ": starts at ", absl::FormatTime(schedule.start, absl::UTCTimeZone()),
      ", ", schedule.slot_count, " slots, ", schedule.log_count, " logs, ",
      schedule.cumulative.max_starts, " starts, derives after ",
      absl::FormatDuration(schedule.derive_delay), " by ",
      absl::FormatDuration(schedule.derive_step), " or ", schedule.derive_rows_per_job,
      " rows, retires every ", absl::FormatDuration(schedule.retention_interval), " by ",
      schedule.retention_rows_per_step, " rows; times are relative to the step\n");
  for (size_t i = 0; i < schedule.series.size(); ++i) {
    absl::StrAppend(&text, "  series ", i, ": ", schedule.series[i].name, "\n");
  }
  absl::Time now = schedule.start;
  for (size_t i = 0; i < schedule.steps.size(); ++i) {
    const Step& step = schedule.steps[i];
    absl::StrAppend(&text, "  ", i, " ", kWhat[static_cast<int>(step.what)]);
    switch (step.what) {
      case Step::What::kFrame:
        absl::StrAppend(&text, " of log ", step.log, step.new_segment ? ", new segment:" : ":");
        for (const Sent& sent : step.sent) {
          absl::StrAppend(&text, "\n      ", DescribeSent(sent, absl::ToUnixNanos(now)));
        }
        break;
      case Step::What::kWait:
        now += step.wait;
        absl::StrAppend(&text, " ", absl::FormatDuration(step.wait));
        break;
      case Step::What::kJob:
        absl::StrAppend(&text, " ", kOutcome[static_cast<int>(step.outcome)]);
        break;
      case Step::What::kSettle:
        absl::StrAppend(&text, " ", step.count);
        break;
      case Step::What::kCrash:
        absl::StrAppend(&text, ", ", kLastJob[static_cast<int>(step.last_job)]);
        break;
      case Step::What::kHeartbeat:
      case Step::What::kReconnect:
      case Step::What::kHangUp:
        absl::StrAppend(&text, " log ", step.log);
        break;
      default:
        break;
    }
    text += '\n';
  }
  return text;
}

}  // namespace weir::property
