#include "common/rpc/health_service.h"

#include <utility>

#include "absl/status/status.h"
#include "common/base/check.h"
#include "common/rpc/buffer.h"
#include "common/rpc/error.h"
#include "common/rpc/unary.h"

namespace weir::rpc {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

// One Watch; deletes itself when gRPC is done with it. The service's lock guards
// its fields.
struct HealthService::Watcher final : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
  Watcher(HealthService& s, bool k) : service(s), known(k) {}

  void OnWriteDone(bool ok) override { service.Written(*this, ok); }
  void OnCancel() override { service.Cancelled(*this); }
  void OnDone() override {
    service.Forget(this);
    delete this;
  }

  HealthService& service;
  const bool known;
  std::optional<Status> told;
  grpc::ByteBuffer message;  // being written
  bool writing = false;
  bool finished = false;
};

HealthService::HealthService() = default;

HealthService::~HealthService() {
  MutexLock lock(&mu_);
  WEIR_CHECK(watchers_.empty());
}

void HealthService::Add(std::string name) { names_.insert(std::move(name)); }

void HealthService::Announce(bool serving) {
  MutexLock lock(&mu_);
  serving_ = serving && !draining_;
  for (Watcher* const watcher : watchers_) Tell(*watcher);
}

void HealthService::Drain() {
  {
    MutexLock lock(&mu_);
    draining_ = true;
  }
  Announce(false);
}

void HealthService::End(const grpc::Status& status) {
  MutexLock lock(&mu_);
  if (end_.has_value()) return;
  end_ = status;
  for (Watcher* const watcher : watchers_) {
    if (!watcher->writing) Finish(*watcher, status);
  }
}

// Writes the status unless the client has it, or will when the write is done.
void HealthService::Tell(Watcher& watcher) {
  const Status status = StatusOf(watcher.known);
  if (watcher.writing || watcher.finished || watcher.told == status) return;
  watcher.told = status;
  HealthCheckResponse response;
  response.set_status(status);
  watcher.message = ToBuffer(response);
  watcher.writing = true;
  watcher.StartWrite(&watcher.message);
}

void HealthService::Finish(Watcher& watcher, const grpc::Status& status) {
  if (!std::exchange(watcher.finished, true)) watcher.Finish(status);
}

void HealthService::Written(Watcher& watcher, bool ok) {
  MutexLock lock(&mu_);
  watcher.writing = false;
  if (!ok) {
    Finish(watcher, grpc::Status::CANCELLED);
    return;
  }
  Tell(watcher);
  if (end_.has_value() && !watcher.writing) Finish(watcher, *end_);
}

void HealthService::Cancelled(Watcher& watcher) {
  MutexLock lock(&mu_);
  Finish(watcher, grpc::Status::CANCELLED);
}

void HealthService::Forget(Watcher* watcher) {
  MutexLock lock(&mu_);
  watchers_.erase(watcher);
}

HealthService::Status HealthService::StatusOf(bool known) const {
  if (!known) return HealthCheckResponse::SERVICE_UNKNOWN;
  return serving_ ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING;
}

grpc::ServerUnaryReactor* HealthService::Check(grpc::CallbackServerContext* context,
                                               const grpc::ByteBuffer* bytes,
                                               grpc::ByteBuffer* out) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  bool known = true;
  const grpc::Status status = RawUnary<HealthCheckRequest, HealthCheckResponse>(
      *bytes, out, [&](const HealthCheckRequest& request, HealthCheckResponse* response) {
        known = names_.contains(request.service());
        MutexLock lock(&mu_);
        response->set_status(StatusOf(known));
        return absl::OkStatus();
      });
  reactor->Finish(known ? status
                        : grpc::Status(grpc::StatusCode::NOT_FOUND, "service name unknown"));
  return reactor;
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* HealthService::Watch(grpc::CallbackServerContext*,
                                                                 const grpc::ByteBuffer* bytes) {
  HealthCheckRequest request;
  const absl::Status parsed = Parse(*bytes, &request, kMaxRequestBytes);
  // Nothing of it is run before it is returned.
  auto* const watcher = new Watcher(*this, names_.contains(request.service()));
  MutexLock lock(&mu_);
  watchers_.insert(watcher);
  if (!parsed.ok()) {
    Finish(*watcher, ToGrpc(parsed));
  } else if (end_.has_value()) {
    Finish(*watcher, *end_);
  } else {
    Tell(*watcher);
  }
  return watcher;
}

}  // namespace weir::rpc
