// HTTP/1.1 in, for ways in that are not gRPC: OTLP/HTTP, Prometheus remote write.
//
//   HttpServer server({.listen_addresses = {"127.0.0.1:4318"}}, clock);
//   server.AddPost("/v1/metrics", otlp);
//   WEIR_RETURN_IF_ERROR(server.Start());
//
// One thread reads and writes all connections and never waits for one; a request
// goes to a worker once it is there as a whole. Nobody waits for an ack: a handler
// may return and answer later, from any thread. So a slow client costs memory only,
// and there need be only as many workers as cores.
//
// Everything a client controls has a limit: the head, the body, what all bodies take
// together, how long each may take to come, the number of connections (more wait in
// the kernel's queue, which is bounded; the one that was idle longest makes room).
// No TLS and no CORS: browsers of other origins are not let in.
//
// Thread safety: owned by one thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "services/collector/http_call.h"
#include "services/collector/http_parser.h"

namespace weir::collector {

struct HttpServerOptions {
  // "127.0.0.1:4318", "[::1]:4318", "localhost:4318". Port 0 lets the kernel choose.
  std::vector<std::string> listen_addresses;
  // Allows addresses that are not loopback, in plain text and for anyone.
  bool insecure = false;
  // Decode and admit requests; they wait for nothing.
  int worker_count = 2;
  size_t max_connection_count = 1000;
  HttpParser::Limits limits;
  // What all requests that are read and decoded may take together.
  int64_t max_held_bytes = int64_t{96} << 20;
  // From the first byte of a request to the end of its head, and of its body.
  absl::Duration head_timeout = absl::Seconds(10);
  absl::Duration body_timeout = absl::Seconds(60);
  // From a request to its answer: then it is refused and may be sent again.
  absl::Duration answer_timeout = absl::Seconds(30);
  // Until the client has taken its answer.
  absl::Duration write_timeout = absl::Seconds(30);
  // How long a connection may have no request.
  absl::Duration idle_timeout = absl::Seconds(120);
};

class HttpServer {
 public:
  // `clock` outlives it.
  HttpServer(HttpServerOptions options, Clock& clock);
  // Stops at once, when Shutdown was not called.
  ~HttpServer();

  // Serves POST of `path`; `handler` outlives the server. REQUIRES: before Start.
  void AddPost(std::string path, HttpHandler& handler);

  // Binds and serves.
  // Errors: as rpc::Server::Start.
  absl::Status Start();

  // listen_addresses[i] with the port bound. REQUIRES: Start succeeded.
  std::string address(size_t i = 0) const;

  // Takes no more; sends the answers of what was taken, until `deadline`. Idempotent.
  void Shutdown(absl::Time deadline);

 private:
  class Loop;
  std::unique_ptr<Loop> loop_;
};

}  // namespace weir::collector
