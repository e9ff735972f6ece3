// One Call per connection. Its operations in flight count in `pending_`; the
// chain StartCall, ReadInitialMetadata, Read, Read, ... ends in exactly one
// Finish, whichever of them fails. When Finish has come and nothing is pending,
// the call is over.
#include "common/rpc/stream_client.h"

#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/async_stream.h>
#include <grpcpp/support/channel_arguments.h>

#include <algorithm>
#include <deque>
#include <utility>

#include "common/base/check.h"
#include "common/base/strings.h"
#include "common/rpc/error.h"
#include "common/rpc/stream_server.h"

namespace weir::rpc {
namespace {

int Milliseconds(absl::Duration duration) {
  return static_cast<int>(std::clamp<int64_t>(absl::ToInt64Milliseconds(duration), 1, INT32_MAX));
}

std::shared_ptr<grpc::Channel> MakeChannel(const StreamClientOptions& options) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(
      static_cast<int>(std::min<int64_t>(options.max_receive_bytes, INT32_MAX)));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, Milliseconds(options.keepalive_interval));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, Milliseconds(options.keepalive_timeout));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS,
                   Milliseconds(options.min_reconnect_backoff));
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, Milliseconds(options.max_reconnect_backoff));
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, Milliseconds(options.connect_timeout));
  // A connection of its own: one stream must not wait for another's window.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(options.target, grpc::InsecureChannelCredentials(), arguments);
}

}  // namespace

class StreamClient::Call final : public std::enable_shared_from_this<Call> {
 public:
  explicit Call(StreamClient& client) : client_(client) {
    for (const auto& [key, value] : client.options_.metadata) context_.AddMetadata(key, value);
  }

  void Start();
  bool Write(grpc::ByteBuffer message);
  void Close();
  void Cancel() { context_.TryCancel(); }
  // The attempt has taken too long, unless it has succeeded.
  void OnConnectTimeout();
  int64_t queued_bytes() const {
    MutexLock lock(&mu_);
    return queued_bytes_;
  }

 private:
  struct Operation final : EventLoop::Tag {
    Operation(Call* c, void (Call::*r)(bool)) : call(c), react(r) {}
    void Complete(bool ok) override { (call->*react)(ok); }
    Call* const call;
    void (Call::*const react)(bool);
  };

  // What to start, decided under the lock and started outside it; the decision
  // counts as pending.
  struct Next {
    enum { kNothing, kWrite, kWritesDone } action = kNothing;
    grpc::ByteBuffer message;
    bool more = false;
  };

  void OnStarted(bool ok);
  void OnMetadata(bool ok);
  void OnRead(bool ok);
  void OnWritten(bool ok);
  void OnFinished(bool ok);

  void AddPending() {
    MutexLock lock(&mu_);
    ++pending_;
  }
  void SetConnected();
  // Starts the one Finish.
  void StartFinish();
  Next TakeNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void StartNext(Next next);
  // One operation has completed.
  void Settle();

  StreamClient& client_;
  grpc::ClientContext context_;

  // Owned by the loop's thread.
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> stream_;
  grpc::ByteBuffer message_;
  grpc::Status status_;
  bool connected_ = false;
  bool timed_out_ = false;
  Operation started_{this, &Call::OnStarted};
  Operation metadata_{this, &Call::OnMetadata};
  Operation read_{this, &Call::OnRead};
  Operation written_{this, &Call::OnWritten};
  Operation finished_{this, &Call::OnFinished};

  mutable Mutex mu_;
  std::deque<grpc::ByteBuffer> queue_ ABSL_GUARDED_BY(mu_);
  int64_t queued_bytes_ ABSL_GUARDED_BY(mu_) = 0;   // with the one in flight
  int64_t writing_bytes_ ABSL_GUARDED_BY(mu_) = 0;  // the one in flight
  int pending_ ABSL_GUARDED_BY(mu_) = 0;
  // Starting the call takes the write's place.
  bool writing_ ABSL_GUARDED_BY(mu_) = true;
  bool closing_ ABSL_GUARDED_BY(mu_) = false;
  bool writes_done_ ABSL_GUARDED_BY(mu_) = false;
  bool over_ ABSL_GUARDED_BY(mu_) = false;  // a write failed, or Finish was started
  bool finished_seen_ ABSL_GUARDED_BY(mu_) = false;
};

void StreamClient::Call::Start() {
  AddPending();
  grpc::GenericStub stub(client_.channel_);
  stream_ = stub.PrepareCall(&context_, client_.options_.method, client_.loop_.queue());
  stream_->StartCall(static_cast<EventLoop::Tag*>(&started_));
}

void StreamClient::Call::OnStarted(bool ok) {
  if (!ok) {
    StartFinish();
    Settle();
    return;
  }
  AddPending();
  stream_->ReadInitialMetadata(static_cast<EventLoop::Tag*>(&metadata_));
  Next next;
  {
    MutexLock lock(&mu_);
    writing_ = false;
    next = TakeNext();
  }
  StartNext(std::move(next));
  Settle();
}

void StreamClient::Call::SetConnected() {
  if (std::exchange(connected_, true)) return;
  client_.handler_.OnConnected();
}

void StreamClient::Call::OnMetadata(bool ok) {
  if (!ok || timed_out_) {
    StartFinish();
    Settle();
    return;
  }
  const auto& metadata = context_.GetServerInitialMetadata();
  if (metadata.contains({kAcceptedMetadata.data(), kAcceptedMetadata.size()})) SetConnected();
  AddPending();
  stream_->Read(&message_, static_cast<EventLoop::Tag*>(&read_));
  Settle();
}

void StreamClient::Call::OnRead(bool ok) {
  if (!ok) {
    StartFinish();
    Settle();
    return;
  }
  SetConnected();
  client_.handler_.OnMessage(message_);
  message_.Clear();
  AddPending();
  stream_->Read(&message_, static_cast<EventLoop::Tag*>(&read_));
  Settle();
}

void StreamClient::Call::StartFinish() {
  {
    MutexLock lock(&mu_);
    over_ = true;
    ++pending_;
  }
  stream_->Finish(&status_, static_cast<EventLoop::Tag*>(&finished_));
}

void StreamClient::Call::OnWritten(bool ok) {
  Next next;
  {
    MutexLock lock(&mu_);
    writing_ = false;
    queued_bytes_ -= std::exchange(writing_bytes_, 0);
    if (!ok) over_ = true;  // the read in flight fails too, and ends the call
    if (over_) {
      queue_.clear();
      queued_bytes_ = 0;
    }
    next = TakeNext();
  }
  StartNext(std::move(next));
  Settle();
}

void StreamClient::Call::OnFinished(bool) {
  {
    MutexLock lock(&mu_);
    finished_seen_ = true;
  }
  Settle();
}

bool StreamClient::Call::Write(grpc::ByteBuffer message) {
  const int64_t bytes = static_cast<int64_t>(message.Length());
  Next next;
  {
    MutexLock lock(&mu_);
    if (over_ || closing_) return false;
    if (queued_bytes_ > 0 && queued_bytes_ + bytes > client_.options_.max_queued_bytes) {
      return false;
    }
    queue_.push_back(std::move(message));
    queued_bytes_ += bytes;
    next = TakeNext();
  }
  StartNext(std::move(next));
  return true;
}

void StreamClient::Call::Close() {
  Next next;
  {
    MutexLock lock(&mu_);
    closing_ = true;
    next = TakeNext();
  }
  StartNext(std::move(next));
}

StreamClient::Call::Next StreamClient::Call::TakeNext() {
  Next next;
  if (writing_ || over_) return next;
  if (!queue_.empty()) {
    next.action = Next::kWrite;
    next.message = std::move(queue_.front());
    queue_.pop_front();
    next.more = !queue_.empty();
    writing_bytes_ = static_cast<int64_t>(next.message.Length());
  } else if (closing_ && !writes_done_) {
    next.action = Next::kWritesDone;
    writes_done_ = true;
  } else {
    return next;
  }
  writing_ = true;
  ++pending_;
  return next;
}

void StreamClient::Call::StartNext(Next next) {
  switch (next.action) {
    case Next::kNothing:
      return;
    case Next::kWrite: {
      grpc::WriteOptions options;
      // While more is queued, gRPC may gather: small messages cost a third.
      if (next.more) options.set_buffer_hint();
      stream_->Write(next.message, options, static_cast<EventLoop::Tag*>(&written_));
      return;
    }
    case Next::kWritesDone:
      stream_->WritesDone(static_cast<EventLoop::Tag*>(&written_));
      return;
  }
}

void StreamClient::Call::OnConnectTimeout() {
  if (connected_) return;
  timed_out_ = true;
  Cancel();
}

void StreamClient::Call::Settle() {
  {
    MutexLock lock(&mu_);
    if (--pending_ > 0 || !finished_seen_) return;
  }
  absl::Status status = FromGrpc(status_);
  if (timed_out_) {
    status = absl::UnavailableError(StrCat("no connection to ", client_.options_.target, " within ",
                                           absl::FormatDuration(client_.options_.connect_timeout)));
  }
  StreamClient& client = client_;
  const std::shared_ptr<Call> self = shared_from_this();  // until this returns
  {
    MutexLock lock(&client.mu_);
    client.call_ = nullptr;
    client.idle_.NotifyAll();
  }
  client.handler_.OnClosed(status);
}

StreamClient::StreamClient(StreamClientOptions options, Handler& handler, Clock& clock)
    : options_(std::move(options)),
      handler_(handler),
      clock_(clock),
      channel_(MakeChannel(options_)),
      loop_(std::make_unique<grpc::CompletionQueue>()) {
  loop_.Start();
}

StreamClient::~StreamClient() { Stop(); }

bool StreamClient::Connect() {
  const auto call = std::make_shared<Call>(*this);
  {
    MutexLock lock(&mu_);
    if (stopped_ || call_ != nullptr) return false;
    call_ = call;
  }
  // On the loop, so that the call's own state has one owner. Neither post can
  // fail: Stop waits for the end of a call, and only Start leads there.
  WEIR_CHECK(
      loop_.PostAt(clock_.Now() + options_.connect_timeout, [weak = std::weak_ptr<Call>(call)] {
        if (const auto attempt = weak.lock()) attempt->OnConnectTimeout();
      }));
  WEIR_CHECK(loop_.Post([call] { call->Start(); }));
  return true;
}

bool StreamClient::Write(grpc::ByteBuffer message) {
  std::shared_ptr<Call> call;
  {
    MutexLock lock(&mu_);
    call = call_;
  }
  return call != nullptr && call->Write(std::move(message));
}

void StreamClient::Close() {
  std::shared_ptr<Call> call;
  {
    MutexLock lock(&mu_);
    call = call_;
  }
  if (call != nullptr) call->Close();
}

void StreamClient::Cancel() {
  std::shared_ptr<Call> call;
  {
    MutexLock lock(&mu_);
    call = call_;
  }
  if (call != nullptr) call->Cancel();
}

int64_t StreamClient::queued_bytes() const {
  std::shared_ptr<Call> call;
  {
    MutexLock lock(&mu_);
    call = call_;
  }
  return call == nullptr ? 0 : call->queued_bytes();
}

void StreamClient::Stop() {
  WEIR_CHECK_MSG(!loop_.InLoop(), "a stream client cannot wait for itself");
  {
    MutexLock lock(&mu_);
    stopped_ = true;
  }
  Cancel();
  {
    MutexLock lock(&mu_);
    while (call_ != nullptr) idle_.Wait(&mu_);
  }
  loop_.Stop();
}

}  // namespace weir::rpc
