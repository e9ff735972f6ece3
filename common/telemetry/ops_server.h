// The port for machines that watch us: /metrics and /healthz over HTTP, on two
// threads of its own, so that it answers when everything else is busy.
//
//   GET /metrics   the registry, text format 0.0.4
//   GET /healthz   200 "ok", or 503 and the reason
//   GET /          what there is
//
// Requests are bounded (8 KiB of header, no body to speak of) and connections
// are not kept alive. Nothing here is secret, but it is not for the public
// either: the default address is loopback.
//
// Thread safety: owned by one thread.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/telemetry/metrics.h"

namespace weir::telemetry {

struct OpsServerOptions {
  // "127.0.0.1:9464", "[::1]:9464"; port 0 lets the kernel choose.
  std::string listen_address = "127.0.0.1:0";
  // Named on the text page: "weir-collector".
  std::string service = "weir";
};

class OpsServer {
 public:
  // OK, or why the service should get no traffic; runs on a thread of the
  // server and must not block.
  using HealthCheck = std::function<absl::Status()>;

  // Binds and serves. `registry`, and what `health` touches, outlive the
  // server.
  // Errors: InvalidArgument for an address that cannot be parsed;
  // FailedPrecondition for one that cannot be bound, naming it.
  static absl::StatusOr<std::unique_ptr<OpsServer>> Start(OpsServerOptions options,
                                                          const Registry& registry,
                                                          HealthCheck health);
  // Stops.
  ~OpsServer();

  // Cuts connections and joins the threads; idempotent. Returns as soon as a
  // callback in progress has returned, whatever clients do.
  void Stop();

  int port() const;

 private:
  class Impl;
  explicit OpsServer(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace weir::telemetry
