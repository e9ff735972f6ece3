// The client's side of a hot bidirectional stream, made to be driven by a state
// machine: everything happens on one event loop, and after a connection is lost
// the same object connects again.
//
//   idle --Connect--> connecting --OnConnected--> open --OnClosed--> idle
//                          \-------------OnClosed------------------/
//
// A connection is open when the server has said that it accepted the stream
// (kAcceptedMetadata, which ServerStream sends), or has sent a message.
//
// Thread safety: thread-safe; callbacks run on the loop, one at a time.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/support/byte_buffer.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/rpc/buffer.h"
#include "common/rpc/event_loop.h"

namespace weir::rpc {

struct StreamClientOptions {
  // "127.0.0.1:7102", "unix:/path/socket", "dns:///name:port".
  std::string target;
  // "/weir.peer.v1.DeliveryService/Deliver".
  std::string method;
  // Sent with every connection; keys in lower case.
  std::vector<std::pair<std::string, std::string>> metadata;
  // How long a connection attempt may take.
  absl::Duration connect_timeout = absl::Seconds(5);
  // What Write queues at most.
  int64_t max_queued_bytes = int64_t{64} << 20;
  int64_t max_receive_bytes = kMaxMessageBytes;
  // A server that has gone without a word is noticed within their sum.
  absl::Duration keepalive_interval = absl::Seconds(20);
  absl::Duration keepalive_timeout = absl::Seconds(10);
  // gRPC itself waits this long between attempts to reach the address.
  absl::Duration min_reconnect_backoff = absl::Milliseconds(100);
  absl::Duration max_reconnect_backoff = absl::Seconds(1);
};

class StreamClient {
 public:
  // Callbacks must not block. They may call anything here but Stop.
  class Handler {
   public:
    virtual ~Handler() = default;
    // The server has accepted the stream.
    virtual void OnConnected() = 0;
    // A message has come; it may be moved from. Returning stops the next read
    // from being started before this one was handled: that is the
    // back-pressure.
    virtual void OnMessage(grpc::ByteBuffer& message) = 0;
    // The connection, or the attempt, is over; OK when the server ended it with
    // OK. Exactly once for each Connect that returned true; Connect may be
    // called from here.
    virtual void OnClosed(const absl::Status& status) = 0;
  };

  // `handler` and `clock` outlive this object. No connection is made yet; the
  // loop runs.
  StreamClient(StreamClientOptions options, Handler& handler, Clock& clock = Clock::System());
  // Stops.
  ~StreamClient();
  StreamClient(const StreamClient&) = delete;
  StreamClient& operator=(const StreamClient&) = delete;

  // Begins a connection. Returns false when there is one, or after Stop.
  bool Connect();

  // Queues `message` for this connection; it is sent once connected, and lost
  // with the connection. Returns false, and drops it, when there is none, after
  // Close, or when the queue is full (an empty queue takes any message).
  bool Write(grpc::ByteBuffer message);

  // Half-closes after what is queued; the server then ends the stream.
  void Close();

  // Ends the connection without regard to what is queued; OnClosed follows.
  void Cancel();

  // Ends the connection as Cancel does and waits until OnClosed has returned;
  // then joins the loop. No callback runs afterwards. Idempotent.
  // REQUIRES: not on the loop.
  void Stop();

  // Bytes accepted by Write and not yet taken by gRPC.
  int64_t queued_bytes() const;

  // As EventLoop's: on the thread that runs the callbacks.
  bool Post(std::function<void()> function) { return loop_.Post(std::move(function)); }
  bool PostAt(absl::Time when, std::function<void()> function) {
    return loop_.PostAt(when, std::move(function));
  }
  EventLoop& loop() { return loop_; }

 private:
  class Call;

  // Constant after construction.
  const StreamClientOptions options_;
  Handler& handler_;
  Clock& clock_;
  const std::shared_ptr<grpc::Channel> channel_;
  EventLoop loop_;

  mutable Mutex mu_;
  CondVar idle_;
  // Shared with its operations in flight. Null when idle.
  std::shared_ptr<Call> call_ ABSL_GUARDED_BY(mu_);
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace weir::rpc
