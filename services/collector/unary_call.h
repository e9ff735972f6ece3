// A unary call that is answered when its samples are safe.
//
// The answer may come from the log thread, the delivery thread or, when the
// client gives up, from gRPC; whichever is first wins.
//
// Thread safety: thread-safe.
#pragma once

#include <google/protobuf/message_lite.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "common/base/mutex.h"
#include "common/rpc/buffer.h"
#include "common/rpc/error.h"
#include "services/collector/ack_router.h"
#include "services/collector/pending_answer.h"

namespace weir::collector {

class UnaryCall final : public grpc::ServerUnaryReactor, public AckSink, public PendingAnswer {
 public:
  // `response` is gRPC's, valid until the call is finished.
  static std::shared_ptr<UnaryCall> Create(AckRouter& router, grpc::ByteBuffer* response) {
    // Two owners: whoever uses it, and gRPC until OnDone.
    auto call = std::shared_ptr<UnaryCall>(new UnaryCall(router, response));
    call->self_ = call;
    return call;
  }

  uint64_t AwaitAck(const google::protobuf::MessageLite& answer) override {
    grpc::ByteBuffer bytes = rpc::ToBuffer(answer);
    const uint64_t connection = router_.Register(self_);
    MutexLock lock(&mu_);
    answer_ = std::move(bytes);
    connection_ = connection;
    return connection;
  }

  void Answer(const google::protobuf::MessageLite& answer) override {
    Finish(rpc::ToBuffer(answer), grpc::Status::OK);
  }
  void Fail(const absl::Status& status) override { Finish({}, rpc::ToGrpc(status)); }

  void OnAcked(uint64_t) override {
    grpc::ByteBuffer answer;
    {
      MutexLock lock(&mu_);
      answer = answer_;
    }
    Finish(std::move(answer), grpc::Status::OK);
  }

  void OnCancel() override {
    Finish({}, grpc::Status(grpc::StatusCode::CANCELLED,
                            "the client gave up; the samples may have been counted"));
  }

  void OnDone() override {
    router_.Unregister(connection());
    self_.reset();  // may destroy this
  }

 private:
  UnaryCall(AckRouter& router, grpc::ByteBuffer* response) : router_(router), response_(response) {}

  uint64_t connection() {
    MutexLock lock(&mu_);
    return connection_;
  }

  void Finish(grpc::ByteBuffer answer, const grpc::Status& status) {
    {
      MutexLock lock(&mu_);
      if (finished_) return;
      finished_ = true;
      *response_ = std::move(answer);
    }
    ServerUnaryReactor::Finish(status);
  }

  AckRouter& router_;
  grpc::ByteBuffer* const response_;
  std::shared_ptr<UnaryCall> self_;

  Mutex mu_;
  grpc::ByteBuffer answer_ ABSL_GUARDED_BY(mu_);
  uint64_t connection_ ABSL_GUARDED_BY(mu_) = 0;
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace weir::collector
