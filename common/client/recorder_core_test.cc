#include "common/client/recorder_core.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <set>
#include <utility>
#include <variant>
#include <vector>

#include "common/base/random.h"
#include "common/testing/test_seed.h"

namespace weir::client {
namespace {

using Action = RecorderCore::Action;

const absl::Time kStart = absl::FromUnixSeconds(1'700'000'000);

std::vector<BufferedSample> Samples(int count, uint32_t series_count = 1, uint64_t first = 0) {
  std::vector<BufferedSample> samples;
  for (int i = 0; i < count; ++i) {
    samples.push_back({.bits = first + static_cast<uint64_t>(i),
                       .series = static_cast<uint32_t>(i) % series_count,
                       .integer = true});
  }
  return samples;
}

RecorderCoreOptions Options(uint64_t seed = 0) {
  RecorderCoreOptions options;
  options.max_batch_samples = 10;
  options.definition_bytes = [](uint32_t) { return 100; };
  options.session.max_in_flight_batches = 4;
  options.session.draw_id = [drawn = uint64_t{0}]() mutable { return SessionId{.low = ++drawn}; };
  options.session.seed = seed;
  return options;
}

// Opens the core's session and returns what it sends then.
void Open(RecorderCore& core, int64_t last_sequence = 0, int64_t max_message_bytes = 1 << 20) {
  ASSERT_EQ(core.Next(kStart).kind, Action::kConnect);
  core.OnConnected(kStart);
  ASSERT_EQ(core.Next(kStart).kind, Action::kOpen);
  core.OnOpened({.last_sequence = last_sequence, .max_message_bytes = max_message_bytes}, kStart);
}

// The sizes of the batches sent.
std::vector<size_t> Send(RecorderCore& core) {
  std::vector<size_t> sizes;
  for (Action action = core.Next(kStart); action.kind == Action::kSend;
       action = core.Next(kStart)) {
    sizes.push_back(core.batch(action.sequence).size());
  }
  return sizes;
}

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(RecorderCoreTest, FullBatchesAreSentAndTheRestWhenItIsCut) {
  RecorderCore core(Options());
  Open(core);
  core.Add(Samples(25));
  EXPECT_THAT(Send(core), ElementsAre(0));
  core.OnAcked({.sequence = 1}, kStart);
  EXPECT_THAT(Send(core), ElementsAre(10, 10));
  core.Cut();
  core.Add(Samples(2));
  EXPECT_THAT(Send(core), ElementsAre(7));
  core.Add(Samples(1));
  EXPECT_THAT(Send(core), IsEmpty()) << "added after the cut";
}

TEST(RecorderCoreTest, ABatchHasRoomForAllItsDefinitions) {
  RecorderCoreOptions options = Options();
  options.max_batch_bytes = 128 + 3 * (100 + 25) + 25;
  RecorderCore core(std::move(options));
  Open(core);
  core.Add(Samples(9, 9));
  core.Add(Samples(5, 1));
  core.Cut();
  Send(core);
  core.OnAcked({.sequence = 1}, kStart);
  EXPECT_THAT(Send(core), ElementsAre(3, 3, 3, 5));
}

TEST(RecorderCoreTest, ASampleLargerThanABatchGoesAlone) {
  RecorderCore core(Options());
  Open(core, 0, 64);
  core.Add(Samples(2, 2));
  core.Cut();
  Send(core);
  core.OnAcked({.sequence = 1}, kStart);
  EXPECT_THAT(Send(core), ElementsAre(1, 1));
}

TEST(RecorderCoreTest, RejectedSamplesAreResolvedAndNotAcknowledged) {
  RecorderCore core(Options());
  Open(core);
  core.Add(Samples(10));
  Send(core);
  core.OnAcked({.sequence = 1}, kStart);
  Send(core);
  core.OnAcked({.sequence = 2, .rejections = {{.reason = "VALUE_NOT_FINITE", .count = 3}}}, kStart);
  EXPECT_EQ(core.resolved_count(), 10);
  EXPECT_EQ(core.acked_count(), 7);
  EXPECT_EQ(core.rejected().at("VALUE_NOT_FINITE"), 3);
}

TEST(RecorderCoreTest, OnlyWhatWasSentIsLostWithASession) {
  RecorderCore core(Options());
  Open(core);
  core.Add(Samples(100));
  Send(core);
  core.OnAcked({.sequence = 1}, kStart);
  EXPECT_THAT(Send(core), ElementsAre(10, 10, 10, 10));
  core.OnClosed({.cause = StreamEnd::kSessionUnknown}, kStart);
  EXPECT_EQ(core.Next(kStart).kind, Action::kWait);
  EXPECT_EQ(core.lost_count(), 40);
  EXPECT_EQ(core.resolved_count(), 40);
}

// A collector as the protocol describes it, with a disk that is slower than its
// memory, and every fault that a client must live with.
class SimCollector {
 public:
  struct Open {
    SessionId id;
    int64_t last_acked_sequence;
  };
  struct Batch {
    int64_t sequence;
    std::vector<uint32_t> definitions;
    std::vector<BufferedSample> samples;
  };
  using Request = std::variant<Open, Batch>;
  using Response = std::variant<SessionOpened, BatchesAcked, Rewind>;

  // Values that are rejected alone, and those that make a batch unreadable.
  static bool Rejected(uint64_t value) { return value % 97 == 13; }
  static bool Poison(uint64_t value) { return value % 1999 == 77; }

  explicit SimCollector(Random random) : random_(random) {}

  // Returns how the stream ends, if it does.
  std::optional<StreamEnd> OnRequest(const Request& request) {
    if (const auto* open = std::get_if<Open>(&request)) {
      id_ = open->id;
      const int64_t last = Known(id_).durable;
      if (open->last_acked_sequence > last) return StreamEnd{.cause = StreamEnd::kSessionUnknown};
      responses.push_back(SessionOpened{.last_sequence = last, .max_message_bytes = 1 << 20});
      return std::nullopt;
    }
    return OnBatch(std::get<Batch>(request));
  }

  // What waits becomes durable, and is acknowledged.
  void Sync() {
    for (auto& [id, batch] : queue_) {
      if (batch.sequence > Known(id).durable) {
        Known(id).durable = batch.sequence;
        for (const BufferedSample& sample : batch.samples) {
          if (!Rejected(sample.bits)) ++counted[sample.bits];
        }
      }
    }
    queue_.clear();
    if (waiting_.empty()) return;
    BatchesAcked acked;
    for (auto& [sequence, rejected] : waiting_) {
      acked.sequence = std::max(acked.sequence, sequence);
      if (rejected > 0) acked.rejections.push_back({.reason = "REJECTED", .count = rejected});
    }
    waiting_.clear();
    responses.push_back(std::move(acked));
  }

  void Disconnect() {
    responses.clear();
    waiting_.clear();
    definitions_.clear();
    awaited_.reset();
  }
  // What is not durable is gone.
  void Crash() {
    Disconnect();
    queue_.clear();
    for (auto& [id, session] : sessions_) session.accepted = session.durable;
  }
  // Another log, or another machine, with what was counted elsewhere.
  void Forget() {
    Crash();
    sessions_.clear();
  }

  std::deque<Response> responses;
  std::map<uint64_t, int64_t> counted;
  bool faulty = true;

 private:
  struct Session {
    int64_t accepted = 0;
    int64_t durable = 0;
  };
  Session& Known(const SessionId& id) { return sessions_[id]; }

  std::optional<StreamEnd> OnBatch(const Batch& batch) {
    for (const BufferedSample& sample : batch.samples) {
      if (Poison(sample.bits)) return StreamEnd{.cause = StreamEnd::kRefused};
    }
    definitions_.insert(batch.definitions.begin(), batch.definitions.end());
    if (awaited_.has_value() && batch.sequence > *awaited_) return std::nullopt;
    awaited_.reset();
    int64_t rejected = 0;
    for (const BufferedSample& sample : batch.samples) {
      EXPECT_TRUE(definitions_.contains(sample.series)) << "not defined on this stream";
      rejected += Rejected(sample.bits);
    }
    Session& session = Known(id_);
    if (batch.sequence > session.accepted + 1 ||
        (batch.sequence == session.accepted + 1 && faulty && random_.OneIn(8))) {
      awaited_ = session.accepted + 1;
      Rewind rewind{.next_sequence = *awaited_, .retry_delay = std::nullopt};
      if (random_.OneIn(2)) rewind.retry_delay = absl::Milliseconds(random_.Below(300));
      responses.push_back(rewind);
      return std::nullopt;
    }
    if (batch.sequence == session.accepted + 1) {
      session.accepted = batch.sequence;
      queue_.emplace_back(id_, batch);
    }
    waiting_.emplace_back(batch.sequence, rejected);
    return std::nullopt;
  }

  Random random_;
  std::map<SessionId, Session> sessions_;
  std::vector<std::pair<SessionId, Batch>> queue_;
  // Of the one stream.
  SessionId id_;
  std::set<uint32_t> definitions_;
  std::optional<int64_t> awaited_;
  std::vector<std::pair<int64_t, int64_t>> waiting_;  // sequence, rejected samples
};

struct Faults {
  bool forget = false;
  bool poison = false;
};

// A core, a collector, and a network that loses connections with all that is on
// its way.
class Simulation {
 public:
  Simulation(uint64_t seed, Faults faults)
      : faults_(faults),
        random_(seed),
        collector_(random_.Fork()),
        core_(Options(random_.Fork()())) {}

  void Run() {
    for (int step = 0; step < 3000; ++step) Step();
    quiet_ = true;
    collector_.faulty = false;
    core_.Cut();
    for (int step = 0; step < 200'000 && core_.resolved_count() < core_.added_count(); ++step) {
      Step();
    }
    Check();
  }

 private:
  void Step() {
    now_ += absl::Milliseconds(random_.Below(20));
    const uint64_t dice = random_.Below(100);
    if (dice < 10 && !quiet_) {
      Record();
    } else if (dice < 40) {
      DeliverRequest();
    } else if (dice < 70) {
      DeliverResponse();
    } else if (dice < 80) {
      collector_.Sync();
    } else if (dice < 90) {
      Connect();
    } else if (dice < 92 && !quiet_) {
      Break();
    } else if (dice < 93 && !quiet_) {
      collector_.Crash();
      Close({});
    } else if (dice < 94 && !quiet_ && faults_.forget && random_.OneIn(5)) {
      collector_.Forget();
      Close({});
    }
    Pump();
  }

  void Record() {
    std::vector<BufferedSample> samples;
    for (uint64_t count = random_.Below(30); count > 0; --count) {
      uint64_t value = next_value_++;
      while (SimCollector::Poison(value) && !faults_.poison) value = next_value_++;
      samples.push_back({.bits = value, .series = static_cast<uint32_t>(random_.Below(50))});
      values_.push_back(value);
    }
    core_.Add(samples);
    if (random_.OneIn(2)) core_.Cut();
  }

  void Connect() {
    if (connected_ || !connecting_) return;
    connecting_ = false;
    if (!quiet_ && random_.OneIn(4)) {
      core_.OnClosed({}, now_);
      return;
    }
    connected_ = true;
    core_.OnConnected(now_);
  }

  void DeliverRequest() {
    if (!connected_ || requests_.empty()) return;
    const SimCollector::Request request = std::move(requests_.front());
    requests_.pop_front();
    if (const auto end = collector_.OnRequest(request); end.has_value()) Close(*end);
  }

  void DeliverResponse() {
    if (!connected_ || collector_.responses.empty()) return;
    const SimCollector::Response response = std::move(collector_.responses.front());
    collector_.responses.pop_front();
    if (const auto* opened = std::get_if<SessionOpened>(&response)) core_.OnOpened(*opened, now_);
    if (const auto* acked = std::get_if<BatchesAcked>(&response)) core_.OnAcked(*acked, now_);
    if (const auto* rewind = std::get_if<Rewind>(&response)) core_.OnRewind(*rewind, now_);
  }

  // The client's end of it; what the collector has not read yet may still come
  // to it, or not.
  void Break() {
    if (!connected_) return;
    while (!requests_.empty() && random_.OneIn(2)) {
      if (collector_.OnRequest(requests_.front()).has_value()) break;
      requests_.pop_front();
    }
    Close({});
  }

  void Close(const StreamEnd& end) {
    if (!connected_) return;
    connected_ = false;
    requests_.clear();
    collector_.Disconnect();
    core_.OnClosed(end, now_);
  }

  void Pump() {
    while (true) {
      const Action action = core_.Next(now_);
      if (action.kind == Action::kWait) return;
      if (action.kind == Action::kConnect) {
        connecting_ = true;
      } else if (action.kind == Action::kOpen) {
        requests_.push_back(
            SimCollector::Open{.id = core_.session().session_id(),
                               .last_acked_sequence = core_.session().acked_sequence()});
      } else if (action.kind == Action::kSend) {
        const int64_t undefined = core_.TakeUndefinedFrom();
        std::erase_if(defined_at_, [&](const auto& item) { return item.second >= undefined; });
        SimCollector::Batch batch{.sequence = action.sequence,
                                  .definitions = {},
                                  .samples = core_.batch(action.sequence)};
        for (const BufferedSample& sample : batch.samples) {
          if (defined_at_.emplace(sample.series, action.sequence).second) {
            batch.definitions.push_back(sample.series);
          }
        }
        requests_.push_back(std::move(batch));
      } else if (action.kind == Action::kCancel) {
        Close({});
      }
    }
  }

  void Check() {
    ASSERT_EQ(core_.resolved_count(), core_.added_count()) << "something is never sent";
    int64_t counted = 0, rejected = 0, poison = 0;
    for (const uint64_t value : values_) {
      const auto found = collector_.counted.find(value);
      const int64_t times = found == collector_.counted.end() ? 0 : found->second;
      ASSERT_LE(times, 1) << "value " << value << " is counted twice";
      counted += times;
      rejected += SimCollector::Rejected(value);
      poison += SimCollector::Poison(value);
    }
    int64_t core_rejected = 0;
    for (const auto& [reason, count] : core_.rejected()) core_rejected += count;
    EXPECT_EQ(core_.acked_count() + core_rejected + core_.lost_count() + core_.refused_count(),
              core_.added_count());
    EXPECT_GE(counted, core_.acked_count());
    EXPECT_LE(counted, core_.acked_count() + core_.lost_count());
    if (!faults_.forget) {
      EXPECT_EQ(core_.lost_count(), 0);
      if (!faults_.poison) {
        EXPECT_EQ(core_rejected, rejected);
      }
    }
    if (faults_.poison) {
      EXPECT_GE(core_.refused_count() + core_.lost_count(), poison);
    } else {
      EXPECT_EQ(core_.refused_count(), 0);
    }
  }

  const Faults faults_;
  Random random_;
  SimCollector collector_;
  RecorderCore core_;
  absl::Time now_ = kStart;
  bool quiet_ = false;
  bool connecting_ = false;
  bool connected_ = false;
  std::deque<SimCollector::Request> requests_;
  std::map<uint32_t, int64_t> defined_at_;
  uint64_t next_value_ = 1;
  std::vector<uint64_t> values_;
};

void Simulate(Faults faults) {
  Random seeds(test::TestSeed());
  for (int run = 0; run < 200; ++run) {
    const uint64_t seed = seeds();
    SCOPED_TRACE(run);
    Simulation(seed, faults).Run();
    if (::testing::Test::HasFailure()) return;
  }
}

TEST(RecorderSimulationTest, EverySampleIsCountedOnceThroughCrashesAndLostAnswers) { Simulate({}); }

TEST(RecorderSimulationTest, NothingIsCountedTwiceWhenSessionsAreForgotten) {
  Simulate({.forget = true});
}

TEST(RecorderSimulationTest, BatchesThatAreRefusedDoNotStopTheOthers) {
  Simulate({.poison = true});
}

TEST(RecorderSimulationTest, AllFaultsTogether) { Simulate({.forget = true, .poison = true}); }

}  // namespace
}  // namespace weir::client
