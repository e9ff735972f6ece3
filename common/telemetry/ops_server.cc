#include "common/telemetry/ops_server.h"

#include <dirent.h>
#include <httplib.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <charconv>
#include <cstdlib>
#include <thread>
#include <utility>

#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/base/strings.h"

namespace weir::telemetry {
namespace {

constexpr int kThreads = 2;
constexpr char kText[] = "text/plain; charset=utf-8";

// httplib's threads wait in the read of a connection until its client speaks or
// a timeout passes, and it tells nobody which connections there are. Shutting
// down every connected socket that is bound to our port wakes them at once.
void CutConnections(int port) {
  DIR* const directory = ::opendir("/proc/self/fd");
  if (directory == nullptr) return;
  while (const dirent* entry = ::readdir(directory)) {
    const int fd = std::atoi(entry->d_name);
    sockaddr_storage name = {};
    socklen_t length = sizeof name;
    if (::getsockname(fd, reinterpret_cast<sockaddr*>(&name), &length) != 0) continue;
    in_port_t bound = 0;
    if (name.ss_family == AF_INET) {
      bound = reinterpret_cast<const sockaddr_in&>(name).sin_port;
    } else if (name.ss_family == AF_INET6) {
      bound = reinterpret_cast<const sockaddr_in6&>(name).sin6_port;
    }
    if (ntohs(bound) == port && bound != 0) ::shutdown(fd, SHUT_RDWR);
  }
  ::closedir(directory);
}

bool SplitHostPort(const std::string& address, std::string* host, int* port) {
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos || colon == 0) return false;
  *host = address.substr(0, colon);
  if (host->starts_with('[') && host->ends_with(']')) *host = host->substr(1, host->size() - 2);
  const char* const end = address.data() + address.size();
  const auto result = std::from_chars(address.data() + colon + 1, end, *port);
  return result.ec == std::errc() && result.ptr == end && *port >= 0 && *port <= 65535;
}

}  // namespace

class OpsServer::Impl {
 public:
  Impl(OpsServerOptions options, const Registry& registry, HealthCheck health)
      : options_(std::move(options)), registry_(registry), health_(std::move(health)) {}
  ~Impl() { Stop(); }

  absl::Status Start() {
    std::string host;
    int port;
    if (!SplitHostPort(options_.listen_address, &host, &port)) {
      return absl::InvalidArgumentError(
          StrCat("metrics address \"", options_.listen_address, "\": write HOST:PORT"));
    }
    server_.new_task_queue = [] { return new httplib::ThreadPool(kThreads); };
    server_.set_keep_alive_max_count(1);
    server_.set_keep_alive_timeout(1);
    server_.set_read_timeout(2, 0);
    server_.set_write_timeout(2, 0);
    server_.set_payload_max_length(1024);
    // Not httplib's default, which lets a second process share the port.
    server_.set_socket_options([](socket_t socket) {
      const int on = 1;
      ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    });
    server_.Get("/", [this](const httplib::Request&, httplib::Response& response) {
      response.set_content(StrCat(options_.service, "\n\n/metrics\n/healthz\n"), kText);
    });
    server_.Get("/metrics", [this](const httplib::Request&, httplib::Response& response) {
      response.set_content(registry_.Render(), "text/plain; version=0.0.4; charset=utf-8");
    });
    server_.Get("/healthz", [this](const httplib::Request&, httplib::Response& response) {
      const absl::Status health = health_();
      response.status = health.ok() ? 200 : 503;
      response.set_content(health.ok() ? "ok\n" : StrCat(StdView(health.message()), "\n"), kText);
    });
    if (port == 0) {
      port_ = server_.bind_to_any_port(host.c_str());
    } else {
      port_ = server_.bind_to_port(host.c_str(), port) ? port : -1;
    }
    if (port_ <= 0) {
      return absl::FailedPreconditionError(
          StrCat("cannot listen on ", options_.listen_address, " for /metrics"));
    }
    thread_ = std::thread([this] {
      server_.listen_after_bind();
      MutexLock lock(&mu_);
      finished_ = true;
      changed_.NotifyAll();
    });
    return absl::OkStatus();
  }

  void Stop() {
    if (!thread_.joinable()) return;
    // A thread that has not reached its loop yet would miss the stop.
    while (!server_.is_running() && !Finished()) {
    }
    server_.stop();
    // Again and again, because a connection may be between accept and read.
    do {
      CutConnections(port_);
    } while (!Finished());
    thread_.join();
  }

  int port() const { return port_; }

 private:
  // Whether the server's thread is through; waits a little for it.
  bool Finished() {
    const absl::Time deadline = Clock::System().Now() + absl::Milliseconds(5);
    MutexLock lock(&mu_);
    while (!finished_ && Clock::System().WaitUntil(&mu_, &changed_, deadline)) {
    }
    return finished_;
  }

  // Constant after Start.
  const OpsServerOptions options_;
  const Registry& registry_;
  const HealthCheck health_;
  int port_ = 0;

  httplib::Server server_;
  std::thread thread_;

  Mutex mu_;
  CondVar changed_;
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
};

absl::StatusOr<std::unique_ptr<OpsServer>> OpsServer::Start(OpsServerOptions options,
                                                            const Registry& registry,
                                                            HealthCheck health) {
  auto impl = std::make_unique<Impl>(std::move(options), registry, std::move(health));
  if (absl::Status status = impl->Start(); !status.ok()) return status;
  return std::unique_ptr<OpsServer>(new OpsServer(std::move(impl)));
}

OpsServer::OpsServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
OpsServer::~OpsServer() = default;
void OpsServer::Stop() { impl_->Stop(); }
int OpsServer::port() const { return impl_->port(); }

}  // namespace weir::telemetry
