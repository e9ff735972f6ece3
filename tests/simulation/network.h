// Connections as TCP gives them: each direction delivers a prefix of what was
// sent, in order, late; when a connection breaks, what was in flight is lost from
// some point on, and its two ends learn of it at different times. An old
// connection may still deliver while a newer one is open.
//
// Thread safety: thread-compatible; one per run.
#pragma once

#include <cstdint>
#include <optional>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "common/delivery/messages.h"
#include "common/frame/frame.h"
#include "services/collector/session_core.h"
#include "tests/simulation/environment.h"

namespace weir::simulation {

using LinkId = uint64_t;

// From a client: opens a session, or brings a batch.
struct ClientRequest {
  enum class Kind { kOpen, kBatch };
  Kind kind = Kind::kBatch;
  std::optional<frame::SessionMark> session;  // kOpen: with the last sequence acked
  uint64_t number = 0;                        // the waiter's sequence
  collector::AckLevel level = collector::AckLevel::kDurable;
  ClientBatchPtr batch;
};

// From a collector to a client.
struct ClientReply {
  enum class Kind { kOpened, kAcked, kRewind, kRefused, kSessionUnknown };
  Kind kind = Kind::kAcked;
  uint64_t number = 0;  // last sequence, acked sequence, next sequence
  absl::Duration delay;
};

// A message to an aggregator, with the bytes that its views point into.
class ToAggregator {
 public:
  explicit ToAggregator(const delivery::FromCollector& message);
  const delivery::FromCollector& message() const { return message_; }

 private:
  delivery::FromCollector message_;
  std::vector<char> bytes_;  // moving it does not move its elements
};

using Message = std::variant<ClientRequest, ClientReply, ToAggregator, delivery::FromAggregator>;

// One end of links: a process or a client.
class Endpoint {
 public:
  virtual ~Endpoint() = default;
  // For the end that asked for the link.
  virtual void OnLinkOpened(LinkId link) = 0;
  virtual void OnLinkMessage(LinkId link, const Message& message) = 0;
  virtual void OnLinkClosed(LinkId link) = 0;

  // Nothing happens to it for a while. A pause is not made longer or shorter: what
  // was put off until its end happens in the order in which it came.
  void Pause(absl::Time now, absl::Duration duration) {
    if (now >= paused_until_) paused_until_ = now + duration;
  }
  absl::Time paused_until() const { return paused_until_; }

 private:
  absl::Time paused_until_ = absl::InfinitePast();
};

class Network final : public Actor {
 public:
  explicit Network(Environment& env) : env_(env) {}

  // `server` is null when nobody answers there: OnLinkClosed follows.
  LinkId Open(Endpoint& client, Endpoint* server);
  void Send(LinkId link, const Endpoint& from, Message message);
  // Breaks the link: both ends will hear of it.
  void Break(LinkId link);
  // The endpoint's process is gone: all its links break, and it hears nothing more.
  void Forget(const Endpoint& endpoint);
  // One direction delivers nothing any more, and nobody is told.
  void Darken(LinkId link, bool to_server);

  bool alive(LinkId link) const;

  void OnEvent(const Event& event) override;

 private:
  struct Direction {
    absl::Time last = absl::InfinitePast();   // when its last message arrives
    absl::Time cut = absl::InfiniteFuture();  // what would arrive later is lost
    bool dark = false;
  };
  struct Link {
    Endpoint* ends[2] = {nullptr, nullptr};  // client, server
    Direction to[2];
    bool broken = false;
  };
  enum Kind { kOpened, kDeliver, kClosed };

  struct Flying {
    Message message;
    absl::Time arrival;
  };

  Link& Find(LinkId id) { return links_[id - 1]; }
  absl::Duration Delay();

  Environment& env_;
  std::vector<Link> links_;
  std::vector<Flying> pool_;  // messages on their way
  std::vector<size_t> free_;
};

}  // namespace weir::simulation
