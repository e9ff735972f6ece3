// How a stream lives. Every gRPC operation in flight counts in `pending_`; the
// call's own end is the `done` tag (AsyncNotifyWhenDone), which comes after a
// Finish and after a lost connection alike. When it has come and nothing is
// pending, the stream closes: only then are its call and handler destroyed.
//
// What to start next is decided under the lock and started outside it. That is
// safe because the decision itself counts as pending.
#include "common/rpc/raw_stream_method.h"

#include <grpcpp/server_context.h>
#include <grpcpp/support/async_stream.h>

#include <deque>
#include <utility>

#include "common/base/check.h"
#include "common/base/strings.h"
#include "common/rpc/error.h"

namespace weir::rpc {

class RawStreamMethod::Stream final : public ServerStream,
                                      public std::enable_shared_from_this<Stream> {
 public:
  Stream(RawStreamMethod& method, Loop& loop)
      : method_(method), loop_(loop), rpc_(std::make_unique<Rpc>()) {
    rpc_->context.AsyncNotifyWhenDone(static_cast<EventLoop::Tag*>(&done_));
  }

  // Waits for a call.
  void Request() {
    method_.request_(&rpc_->context, &rpc_->stream, loop_.queue, loop_.queue,
                     static_cast<EventLoop::Tag*>(&accepted_));
  }

  bool Write(grpc::ByteBuffer message) override;
  void Finish(grpc::Status status) override;
  void ResumeReads() override;
  void Cancel() override;
  int64_t queued_bytes() const override {
    MutexLock lock(&mu_);
    return queued_bytes_;
  }
  std::string peer() const override { return peer_; }
  std::optional<std::string> metadata(std::string_view key) const override;
  EventLoop& loop() override { return *loop_.loop; }

 private:
  // The gRPC side; destroyed when the stream closes, on the loop, although
  // others may hold the stream for longer than the server lives.
  struct Rpc {
    grpc::ServerContext context;
    RawServerStream stream{&context};
  };

  struct Operation final : EventLoop::Tag {
    Operation(Stream* s, void (Stream::*r)(bool)) : stream(s), react(r) {}
    void Complete(bool ok) override { (stream->*react)(ok); }
    Stream* const stream;
    void (Stream::*const react)(bool);
  };

  // What to start, decided under the lock.
  struct Next {
    enum { kNothing, kWrite, kFinish } action = kNothing;
    grpc::ByteBuffer message;
    bool more = false;
    grpc::Status status;
  };

  void OnAccepted(bool ok);
  void OnMetadataSent(bool ok);
  void OnRead(bool ok);
  void OnWritten(bool ok);
  void OnFinished(bool ok);
  void OnDone(bool ok);

  // Takes the next write, or the Finish once nothing is queued.
  Next TakeNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Start(Next next);
  void StartRead();
  // Whether nothing may be started on the call any more.
  bool over() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return done_seen_ || broken_; }
  void CloseIfOver();

  // Constant after the call has begun.
  RawStreamMethod& method_;
  Loop& loop_;
  std::string peer_;

  // Owned by the loop's thread. `message_` is what the read in flight fills.
  std::unique_ptr<StreamHandler> handler_;
  grpc::ByteBuffer message_;
  Operation accepted_{this, &Stream::OnAccepted};
  Operation metadata_sent_{this, &Stream::OnMetadataSent};
  Operation read_{this, &Stream::OnRead};
  Operation written_{this, &Stream::OnWritten};
  Operation finished_{this, &Stream::OnFinished};
  Operation done_{this, &Stream::OnDone};

  mutable Mutex mu_;
  // Reset under the lock; a thread whose operation is pending uses it without.
  std::unique_ptr<Rpc> rpc_;
  std::deque<grpc::ByteBuffer> queue_ ABSL_GUARDED_BY(mu_);
  int64_t queued_bytes_ ABSL_GUARDED_BY(mu_) = 0;   // with the one in flight
  int64_t writing_bytes_ ABSL_GUARDED_BY(mu_) = 0;  // the one in flight
  std::optional<grpc::Status> finish_ ABSL_GUARDED_BY(mu_);
  int pending_ ABSL_GUARDED_BY(mu_) = 0;
  // The initial metadata takes the write's place until it is sent.
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool finish_started_ ABSL_GUARDED_BY(mu_) = false;
  bool reacting_ ABSL_GUARDED_BY(mu_) = false;  // in OnMessage
  bool paused_ ABSL_GUARDED_BY(mu_) = false;
  bool resumed_ ABSL_GUARDED_BY(mu_) = false;  // ResumeReads came during OnMessage
  bool begun_ ABSL_GUARDED_BY(mu_) = false;
  bool broken_ ABSL_GUARDED_BY(mu_) = false;  // a write failed
  bool done_seen_ ABSL_GUARDED_BY(mu_) = false;
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
};

void RawStreamMethod::Stream::OnAccepted(bool ok) {
  if (!ok) {  // the server has shut down; there was no call, and `done_` does not come
    method_.Remove(this, /*open=*/false);
    return;
  }
  method_.Accept(loop_);
  peer_ = rpc_->context.peer();
  {
    MutexLock lock(&mu_);
    begun_ = true;
    writing_ = true;
    ++pending_;
  }
  rpc_->context.AddInitialMetadata(std::string(kAcceptedMetadata), "1");
  rpc_->stream.SendInitialMetadata(static_cast<EventLoop::Tag*>(&metadata_sent_));
  const absl::Status admitted = method_.Admit();
  if (!admitted.ok()) {
    Finish(ToGrpc(admitted));
    return;
  }
  handler_ = method_.factory_(shared_from_this());
  if (handler_ == nullptr) {
    // Without effect when the factory has said why.
    Finish(ToGrpc(absl::InternalError("the stream was refused without a reason")));
    return;
  }
  {
    MutexLock lock(&mu_);
    if (over() || finish_.has_value()) return;
    ++pending_;
  }
  StartRead();
}

void RawStreamMethod::Stream::StartRead() {
  rpc_->stream.Read(&message_, static_cast<EventLoop::Tag*>(&read_));
}

void RawStreamMethod::Stream::OnMetadataSent(bool ok) {
  // As a write of no bytes; a connection lost this early is the same as later.
  OnWritten(ok);
}

void RawStreamMethod::Stream::OnRead(bool ok) {
  bool ended;
  {
    MutexLock lock(&mu_);
    ended = finish_.has_value() || done_seen_;
    reacting_ = ok && !ended;
  }
  bool more = false;
  if (!ended) {
    if (ok) {
      more = handler_->OnMessage(message_);
    } else {
      handler_->OnReadsDone();
    }
  }
  message_.Clear();
  bool read_on = false;
  {
    MutexLock lock(&mu_);
    --pending_;
    if (ok && !finish_.has_value() && !over()) {
      read_on = more || resumed_;
      paused_ = !read_on;
      if (read_on) ++pending_;
    }
    reacting_ = false;
    resumed_ = false;
  }
  if (read_on) {
    StartRead();
  } else {
    CloseIfOver();
  }
}

void RawStreamMethod::Stream::ResumeReads() {
  {
    MutexLock lock(&mu_);
    if (reacting_) resumed_ = true;
    if (!paused_ || finish_.has_value() || over()) return;
    paused_ = false;
    ++pending_;
  }
  StartRead();
}

bool RawStreamMethod::Stream::Write(grpc::ByteBuffer message) {
  const int64_t bytes = static_cast<int64_t>(message.Length());
  Next next;
  {
    MutexLock lock(&mu_);
    if (over() || finish_.has_value()) return false;
    if (queued_bytes_ > 0 && queued_bytes_ + bytes > method_.options_.max_queued_bytes) {
      return false;
    }
    queue_.push_back(std::move(message));
    queued_bytes_ += bytes;
    next = TakeNext();
  }
  Start(std::move(next));
  return true;
}

void RawStreamMethod::Stream::Finish(grpc::Status status) {
  Next next;
  {
    MutexLock lock(&mu_);
    if (!begun_ || over() || finish_.has_value()) return;
    finish_ = std::move(status);
    next = TakeNext();
  }
  Start(std::move(next));
}

RawStreamMethod::Stream::Next RawStreamMethod::Stream::TakeNext() {
  Next next;
  if (writing_ || over()) return next;
  if (!queue_.empty()) {
    next.action = Next::kWrite;
    next.message = std::move(queue_.front());
    queue_.pop_front();
    next.more = !queue_.empty();
    writing_bytes_ = static_cast<int64_t>(next.message.Length());
    writing_ = true;
    ++pending_;
  } else if (finish_.has_value() && !finish_started_) {
    next.action = Next::kFinish;
    next.status = *finish_;
    finish_started_ = true;
    ++pending_;
  }
  return next;
}

void RawStreamMethod::Stream::Start(Next next) {
  switch (next.action) {
    case Next::kNothing:
      return;
    case Next::kWrite: {
      grpc::WriteOptions options;
      // While more is queued, gRPC may gather: small messages cost a third.
      if (next.more) options.set_buffer_hint();
      rpc_->stream.Write(next.message, options, static_cast<EventLoop::Tag*>(&written_));
      return;
    }
    case Next::kFinish:
      rpc_->stream.Finish(next.status, static_cast<EventLoop::Tag*>(&finished_));
      return;
  }
}

void RawStreamMethod::Stream::OnWritten(bool ok) {
  Next next;
  {
    MutexLock lock(&mu_);
    --pending_;
    writing_ = false;
    queued_bytes_ -= std::exchange(writing_bytes_, 0);
    if (!ok) {
      broken_ = true;
      queue_.clear();
      queued_bytes_ = 0;
      // The connection is gone; this makes sure that the end is reported.
      if (!done_seen_) rpc_->context.TryCancel();
    }
    next = TakeNext();
  }
  Start(std::move(next));
  CloseIfOver();
}

void RawStreamMethod::Stream::OnFinished(bool) {
  {
    MutexLock lock(&mu_);
    --pending_;
  }
  CloseIfOver();
}

void RawStreamMethod::Stream::OnDone(bool) {
  {
    MutexLock lock(&mu_);
    done_seen_ = true;
    queue_.clear();
    queued_bytes_ = writing_bytes_;
  }
  CloseIfOver();
}

void RawStreamMethod::Stream::CloseIfOver() {
  {
    MutexLock lock(&mu_);
    if (!done_seen_ || pending_ > 0 || closed_) return;
    closed_ = true;
  }
  if (handler_ != nullptr) {
    handler_->OnClose();
    handler_ = nullptr;
  }
  std::unique_ptr<Rpc> rpc;
  {
    MutexLock lock(&mu_);
    rpc = std::move(rpc_);
  }
  rpc = nullptr;
  method_.Remove(this, /*open=*/true);  // may destroy this
}

void RawStreamMethod::Stream::Cancel() {
  MutexLock lock(&mu_);
  if (!begun_ || done_seen_) return;
  // Under the lock, which keeps the call alive; gRPC calls nothing of ours.
  rpc_->context.TryCancel();
}

std::optional<std::string> RawStreamMethod::Stream::metadata(std::string_view key) const {
  MutexLock lock(&mu_);
  if (rpc_ == nullptr) return std::nullopt;
  const auto& all = rpc_->context.client_metadata();
  const auto found = all.find(grpc::string_ref(key.data(), key.size()));
  if (found == all.end()) return std::nullopt;
  return std::string(found->second.data(), found->second.size());
}

RawStreamMethod::RawStreamMethod(RawStreamOptions options, RequestStream request,
                                 StreamHandlerFactory factory,
                                 std::vector<std::unique_ptr<grpc::ServerCompletionQueue>> queues)
    : options_(options), request_(std::move(request)), factory_(std::move(factory)) {
  for (auto& queue : queues) {
    Loop loop;
    loop.queue = queue.get();
    loop.loop = std::make_unique<EventLoop>(std::move(queue));
    loops_.push_back(std::move(loop));
  }
}

RawStreamMethod::~RawStreamMethod() { Join(); }

void RawStreamMethod::Start() {
  for (Loop& loop : loops_) {
    loop.loop->Start();
    Accept(loop);
  }
}

void RawStreamMethod::Accept(Loop& loop) {
  auto stream = std::make_shared<Stream>(*this, loop);
  Stream* const raw = stream.get();
  {
    MutexLock lock(&mu_);
    streams_.emplace(raw, std::move(stream));
  }
  raw->Request();
}

absl::Status RawStreamMethod::Admit() {
  MutexLock lock(&mu_);
  ++open_count_;
  if (draining_) return ShuttingDown();
  if (open_count_ > options_.max_open_streams) {
    return WithRetryDelay(
        Error(absl::StatusCode::kUnavailable, v1::OVERLOADED,
              StrCat("at most ", options_.max_open_streams, " streams may be open")),
        absl::Seconds(1));
  }
  return absl::OkStatus();
}

void RawStreamMethod::Remove(Stream* stream, bool open) {
  std::shared_ptr<Stream> last;
  {
    MutexLock lock(&mu_);
    const auto found = streams_.find(stream);
    last = std::move(found->second);
    streams_.erase(found);
    if (open) --open_count_;
    if (streams_.empty()) empty_.NotifyAll();
  }
}

void RawStreamMethod::Drain() {
  MutexLock lock(&mu_);
  draining_ = true;
}

void RawStreamMethod::FinishAll(const grpc::Status& status) {
  std::vector<std::shared_ptr<Stream>> open;
  {
    MutexLock lock(&mu_);
    for (const auto& [raw, stream] : streams_) open.push_back(stream);
  }
  for (const auto& stream : open) stream->Finish(status);
}

void RawStreamMethod::Join() {
  {
    MutexLock lock(&mu_);
    while (!streams_.empty()) empty_.Wait(&mu_);
  }
  for (Loop& loop : loops_) loop.loop->Stop();
}

absl::Status ShuttingDown() {
  return WithRetryDelay(
      Error(absl::StatusCode::kUnavailable, v1::SHUTTING_DOWN, "the server is shutting down"),
      absl::Seconds(1));
}

}  // namespace weir::rpc
