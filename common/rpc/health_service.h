// grpc.health.v1 for a server whose services are all in good health or none is.
//
// gRPC has one of its own, which cannot be asked with gzip where decompression is
// switched off (see rpc::Parse). This one answers as that one does: Check with
// SERVING, NOT_SERVING or the error NOT_FOUND, and Watch with the status at once
// and after every change, SERVICE_UNKNOWN for a name that is not ours.
//
// Thread safety: thread-safe, apart from Add.
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>
#include <grpcpp/support/status.h>

#include <optional>
#include <set>
#include <string>
#include <unordered_set>

#include "common/base/mutex.h"
#include "grpc/health/v1/health.grpc.pb.h"

namespace weir::rpc {

class HealthService final : public grpc::health::v1::Health::WithRawCallbackMethod_Check<
                                grpc::health::v1::Health::WithRawCallbackMethod_Watch<
                                    grpc::health::v1::Health::Service>> {
 public:
  HealthService();
  ~HealthService() override;

  // Makes the service `name` known; the server as a whole, "", always is.
  // REQUIRES: the server has not started.
  void Add(std::string name);

  // What is answered from now on, for every name known; false until first told.
  void Announce(bool serving);

  // Announces false, for good: what is announced later changes nothing.
  void Drain();

  // Ends every Watch with `status`, and those to come, after the status it has not
  // been told yet. REQUIRES: drained.
  void End(const grpc::Status& status);

  grpc::ServerUnaryReactor* Check(grpc::CallbackServerContext* context,
                                  const grpc::ByteBuffer* bytes, grpc::ByteBuffer* out) override;
  grpc::ServerWriteReactor<grpc::ByteBuffer>* Watch(grpc::CallbackServerContext* context,
                                                    const grpc::ByteBuffer* bytes) override;

 private:
  using Status = grpc::health::v1::HealthCheckResponse::ServingStatus;
  struct Watcher;

  void Tell(Watcher& watcher) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Finish(Watcher& watcher, const grpc::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Written(Watcher& watcher, bool ok);
  void Cancelled(Watcher& watcher);
  void Forget(Watcher* watcher);
  Status StatusOf(bool known) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // Constant after the server has started.
  std::set<std::string> names_ = {""};

  // gRPC's operations are started under the lock, so that none follows a Finish;
  // they call nothing of ours before they return.
  Mutex mu_;
  bool serving_ ABSL_GUARDED_BY(mu_) = false;
  bool draining_ ABSL_GUARDED_BY(mu_) = false;
  std::optional<grpc::Status> end_ ABSL_GUARDED_BY(mu_);
  std::unordered_set<Watcher*> watchers_ ABSL_GUARDED_BY(mu_);
};

}  // namespace weir::rpc
