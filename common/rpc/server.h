// A gRPC server as every service of ours runs it: loopback unless told
// otherwise, bounded, with health and reflection, and a shutdown that ends.
//
//   Server server({.listen_addresses = {"127.0.0.1:0"}});
//   server.AddService(&service, "weir.v1.IngestService");
//   EventLoop& loop = server.AddRawStream({}, request_stream, make_handler);
//   WEIR_RETURN_IF_ERROR(server.Start());
//   ... server.port(0) ...
//   server.Shutdown(deadline);
//
// Thread safety: owned by one thread, except Drain, which is thread-safe.
#pragma once

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/mutex.h"
#include "common/rpc/buffer.h"
#include "common/rpc/event_loop.h"
#include "common/rpc/stream_server.h"

namespace weir::rpc {

struct ServerOptions {
  // "127.0.0.1:4317", "[::1]:4317", "localhost:4317", "unix:/path/socket".
  // Port 0 lets the kernel choose. At least one.
  std::vector<std::string> listen_addresses;
  // Allows TCP addresses that are not loopback, in plain text and for anyone.
  bool insecure = false;
  // The largest message taken, before and after inflating.
  int64_t max_receive_bytes = kMaxMessageBytes;
  // Streams and calls at once on one connection; more wait at the client.
  int max_concurrent_streams = 1000;
  // What gRPC may allocate for all connections before it reads slower.
  int64_t resource_quota_bytes = int64_t{512} << 20;
  // A peer that has gone without a word is noticed within their sum. Clients
  // may ping as often as every 5 s.
  absl::Duration keepalive_interval = absl::Seconds(20);
  absl::Duration keepalive_timeout = absl::Seconds(10);
  // Connections older than this are asked to come again, which rebalances them
  // after a scale-out. Their open streams have 10 s to end.
  absl::Duration max_connection_age = absl::InfiniteDuration();
  // OK, or why this server should get no traffic: what grpc.health.v1 says of the
  // server as a whole and of each service. Asked by Start, and from then on every
  // 100 ms on the first loop; must not block. Null is always OK.
  std::function<absl::Status()> health = nullptr;
};

class HealthService;
class RawStreamMethod;
class ReflectionService;

class Server {
 public:
  explicit Server(ServerOptions options);
  // Shuts down at once, when Shutdown was not called.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Serves `service`, which outlives this server; health and reflection know it
  // as `name` ("weir.v1.IngestService", the generated service_full_name()). Its
  // methods are raw, because messages come as the client compressed them: unary
  // ones use the callback API (unary.h), hot streams AddRawStream.
  // REQUIRES: before Start.
  void AddService(grpc::Service* service, std::string name);

  // Serves one raw method of a service added with AddService, and returns the
  // first of its loops: functions may be posted to it at once, and run once
  // the server has started. Loops live as long as this server.
  // REQUIRES: before Start; options.threads >= 1.
  EventLoop& AddRawStream(RawStreamOptions options, RequestStream request,
                          StreamHandlerFactory factory);

  // Binds and serves. REQUIRES: a raw stream where options have a health.
  // Errors: InvalidArgument  an address that cannot be parsed, or is not
  //                          loopback without `insecure`
  //         FailedPrecondition  an address that cannot be bound, with the
  //                          reason: "127.0.0.1:4317: Address already in use"
  absl::Status Start();

  // The port bound for listen_addresses[i]; 0 for a unix socket.
  // REQUIRES: Start succeeded.
  int port(size_t i = 0) const;
  // listen_addresses[i] as a client may dial it: with the port bound.
  // REQUIRES: Start succeeded.
  std::string address(size_t i = 0) const;

  // Health says NOT_SERVING and new raw streams are refused with UNAVAILABLE,
  // SHUTTING_DOWN; what is open goes on. Idempotent.
  void Drain();

  // Drains; ends every open stream with UNAVAILABLE, SHUTTING_DOWN, after
  // what it has queued; waits for calls in progress until `deadline` and then
  // cancels them; joins every loop. Returns soon after the deadline at the latest. Idempotent.
  // REQUIRES: not on a loop of this server.
  void Shutdown(absl::Time deadline);

 private:
  void WatchHealth();

  // Constant after construction.
  const ServerOptions options_;

  grpc::ServerBuilder builder_;
  std::unique_ptr<HealthService> health_;
  std::unique_ptr<ReflectionService> reflection_;
  std::vector<std::unique_ptr<RawStreamMethod>> methods_;
  std::vector<int> ports_;
  std::unique_ptr<grpc::Server> server_;
  bool shut_down_ = false;

  Mutex mu_;
  bool draining_ ABSL_GUARDED_BY(mu_) = false;
};

// Whether `address` cannot be reached from another machine: a unix socket,
// localhost, 127.0.0.0/8 or [::1].
bool Loopback(const std::string& address);

struct HostPort {
  std::string host;  // without brackets
  std::string port;
};

// "127.0.0.1:4317" or "[::1]:4317", taken apart.
// Errors: InvalidArgument.
absl::StatusOr<HostPort> SplitAddress(const std::string& address);

// Whether we may listen there: no address that other machines can reach without
// `insecure`. Every port of ours that is not for machines that watch us has this rule.
// Errors: InvalidArgument.
absl::Status CheckListenAddress(const std::string& address, bool insecure);

}  // namespace weir::rpc
