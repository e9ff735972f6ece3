// Those who send: clients with a session, which number their batches and send
// again what was not acknowledged, and clients that push, with or without an
// idempotency key.
//
// Thread safety: thread-compatible; one per run.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string>

#include "tests/simulation/environment.h"
#include "tests/simulation/network.h"

namespace weir::simulation {

// What every client does: makes batches while there is load, keeps a link to its
// collector, opens another when it breaks or nothing comes back for long.
class Client : public Actor, public Endpoint {
 public:
  // `resolve` gives who answers at the collector's address, or null.
  Client(Environment& env, Network& network, std::function<Endpoint*()> resolve, std::string name);

  void Start();
  void BreakLink();
  // Nothing more to send, nothing unanswered.
  virtual bool done() const = 0;
  virtual std::string Describe() const = 0;

  void OnEvent(const Event& event) override;
  void OnLinkOpened(LinkId link) override;
  void OnLinkMessage(LinkId link, const Message& message) override;
  void OnLinkClosed(LinkId link) override;

 protected:
  enum Kind { kMake, kConnect, kWatch, kSend };

  // A new batch was made.
  virtual void OnMade(ClientBatchPtr batch) = 0;
  virtual void OnConnected() = 0;
  virtual void OnBroken() = 0;
  virtual void OnReply(const ClientReply& reply) = 0;
  virtual void SendMore() = 0;
  virtual bool waiting() const = 0;

  bool connected() const { return connected_; }
  void SendRequest(ClientRequest request);
  void SendLater(absl::Duration delay);

  Environment& env_;
  const std::string name_;

 private:
  ClientBatchPtr MakeBatch();
  int64_t DrawEventTime();

  Network& network_;
  const std::function<Endpoint*()> resolve_;
  LinkId link_ = 0;
  bool connected_ = false;
  absl::Time last_reply_;
};

class SessionClient final : public Client {
 public:
  SessionClient(Environment& env, Network& network, std::function<Endpoint*()> resolve, int number);

  bool done() const override { return env_.healed && outstanding_.empty(); }
  std::string Describe() const override;

 private:
  void OnMade(ClientBatchPtr batch) override;
  void OnConnected() override;
  void OnBroken() override;
  void OnReply(const ClientReply& reply) override;
  void SendMore() override;
  bool waiting() const override { return !outstanding_.empty(); }

  uint64_t made() const { return acked_ + outstanding_.size(); }

  const frame::SessionId id_;
  const collector::AckLevel level_;
  const size_t pipeline_;
  std::deque<ClientBatchPtr> outstanding_;  // acked_ + 1 and on
  uint64_t acked_ = 0;
  uint64_t next_ = 1;  // to send on this link
  bool open_ = false;
  absl::Time not_before_ = absl::InfinitePast();
};

// One push at a time. With a key it is sent again until it is acknowledged;
// without, whether a push that was not answered counts is the collector's to know.
class PushClient final : public Client {
 public:
  PushClient(Environment& env, Network& network, std::function<Endpoint*()> resolve, int number,
             bool keyed);

  bool done() const override { return env_.healed && batch_ == nullptr; }
  std::string Describe() const override;

 private:
  void OnMade(ClientBatchPtr batch) override;
  void OnConnected() override { SendMore(); }
  void OnBroken() override;
  void OnReply(const ClientReply& reply) override;
  void SendMore() override;
  bool waiting() const override { return batch_ != nullptr; }
  void SendAgainAfter(absl::Duration delay);

  const bool keyed_;
  const collector::AckLevel level_;
  ClientBatchPtr batch_;
  frame::SessionId key_;
  uint64_t number_ = 0;
  uint64_t sent_ = 0;  // the last that was sent
  absl::Time send_again_ = absl::InfinitePast();
};

}  // namespace weir::simulation
