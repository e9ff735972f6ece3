#include "common/rpc/server.h"

#include <arpa/inet.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/security/server_credentials.h>
#include <netdb.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "absl/strings/numbers.h"
#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "common/rpc/error.h"
#include "common/rpc/health_service.h"
#include "common/rpc/raw_stream_method.h"
#include "common/rpc/reflection_service.h"

namespace weir::rpc {
namespace {

constexpr absl::Duration kHealthInterval = absl::Milliseconds(100);

bool Unix(std::string_view address) { return address.starts_with("unix:"); }

std::string UnixPath(std::string_view address) {
  address.remove_prefix(sizeof "unix:" - 1);
  if (address.starts_with("//")) address.remove_prefix(2);
  return std::string(address);
}

// Why `address` cannot be bound, or nothing: gRPC says only that it could not.
std::string BindError(const std::string& address) {
  const auto attempt = [](int family, const sockaddr* name, socklen_t length) -> std::string {
    const int fd = ::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return std::strerror(errno);
    const int on = 1;
    ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    std::string error;
    if (::bind(fd, name, length) != 0) error = std::strerror(errno);
    ::close(fd);
    return error;
  };
  if (Unix(address)) {
    sockaddr_un name = {};
    name.sun_family = AF_UNIX;
    const std::string path = UnixPath(address);
    std::memcpy(name.sun_path, path.data(), std::min(path.size(), sizeof name.sun_path - 1));
    return attempt(AF_UNIX, reinterpret_cast<const sockaddr*>(&name), sizeof name);
  }
  const absl::StatusOr<HostPort> parts = SplitAddress(address);
  if (!parts.ok()) return "";
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  if (const int error = ::getaddrinfo(parts->host.c_str(), parts->port.c_str(), &hints, &found)) {
    return ::gai_strerror(error);
  }
  std::string error;
  for (const addrinfo* each = found; each != nullptr && error.empty(); each = each->ai_next) {
    error = attempt(each->ai_family, each->ai_addr, each->ai_addrlen);
  }
  ::freeaddrinfo(found);
  return error;
}

// OK when `why` is empty.
absl::Status CannotListen(const std::string& address, const std::string& why) {
  if (why.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      StrCat("cannot listen on ", address, ": ", why,
             "; stop who has it, or choose another address (--help lists those listened on)"));
}

int Milliseconds(absl::Duration duration) {
  return static_cast<int>(std::clamp<int64_t>(absl::ToInt64Milliseconds(duration), 1, INT32_MAX));
}

}  // namespace

absl::StatusOr<HostPort> SplitAddress(const std::string& address) {
  const auto invalid = [&](std::string_view why) {
    return absl::InvalidArgumentError(StrCat("listen address \"", address, "\": ", why,
                                             "; write HOST:PORT, [IPV6]:PORT or unix:PATH"));
  };
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos) return invalid("it has no port");
  HostPort result{address.substr(0, colon), address.substr(colon + 1)};
  int port;
  if (!absl::SimpleAtoi(result.port, &port) || port < 0 || port > 65535) {
    return invalid("the port is not a number from 0 to 65535");
  }
  if (result.host.starts_with('[') && result.host.ends_with(']')) {
    result.host = result.host.substr(1, result.host.size() - 2);
  } else if (result.host.find(':') != std::string::npos) {
    return invalid("an IPv6 address needs brackets");
  }
  if (result.host.empty()) return invalid("it has no host");
  return result;
}

absl::Status CheckListenAddress(const std::string& address, bool insecure) {
  if (Unix(address)) {
    const std::string path = UnixPath(address);
    if (path.empty() || path.size() >= sizeof(sockaddr_un::sun_path)) {
      return absl::InvalidArgumentError(StrCat("listen address \"", address,
                                               "\": a socket's path has 1 to ",
                                               sizeof(sockaddr_un::sun_path) - 1, " bytes"));
    }
    return absl::OkStatus();
  }
  const absl::StatusOr<HostPort> parts = SplitAddress(address);
  if (!parts.ok()) return parts.status();
  if (!insecure && !Loopback(address)) {
    return absl::InvalidArgumentError(StrCat(
        "listen address \"", address,
        "\" can be reached from other machines, and this release has no TLS: anyone who reaches "
        "it could read and write. Listen on 127.0.0.1, or set `insecure: true` (flag --insecure) "
        "where the network is trusted"));
  }
  return absl::OkStatus();
}

bool Loopback(const std::string& address) {
  if (Unix(address)) return true;
  const absl::StatusOr<HostPort> parts = SplitAddress(address);
  if (!parts.ok()) return false;
  if (parts->host == "localhost" || parts->host == "::1") return true;
  in_addr v4;
  return ::inet_pton(AF_INET, parts->host.c_str(), &v4) == 1 && (ntohl(v4.s_addr) >> 24) == 127;
}

Server::Server(ServerOptions options)
    : options_(std::move(options)),
      health_(std::make_unique<HealthService>()),
      reflection_(std::make_unique<ReflectionService>()) {
  builder_.RegisterService(health_.get());
  reflection_->Add(std::string(grpc::health::v1::Health::service_full_name()));
  reflection_->Register(&builder_);
}

Server::~Server() { Shutdown(absl::InfinitePast()); }

void Server::AddService(grpc::Service* service, std::string name) {
  WEIR_CHECK(server_ == nullptr);
  builder_.RegisterService(service);
  reflection_->Add(name);
  health_->Add(std::move(name));
}

EventLoop& Server::AddRawStream(RawStreamOptions options, RequestStream request,
                                StreamHandlerFactory factory) {
  WEIR_CHECK(server_ == nullptr && options.threads >= 1);
  std::vector<std::unique_ptr<grpc::ServerCompletionQueue>> queues;
  for (int i = 0; i < options.threads; ++i) queues.push_back(builder_.AddCompletionQueue());
  methods_.push_back(std::make_unique<RawStreamMethod>(options, std::move(request),
                                                       std::move(factory), std::move(queues)));
  return methods_.back()->first_loop();
}

absl::Status Server::Start() {
  WEIR_CHECK(server_ == nullptr && !shut_down_);
  WEIR_CHECK(options_.health == nullptr || !methods_.empty());
  if (options_.listen_addresses.empty()) {
    return absl::InvalidArgumentError("no address to listen on");
  }
  for (const std::string& address : options_.listen_addresses) {
    WEIR_RETURN_IF_ERROR(CheckListenAddress(address, options_.insecure));
    // Asked first, because gRPC's own failure is a page of log.
    if (!Unix(address)) WEIR_RETURN_IF_ERROR(CannotListen(address, BindError(address)));
  }
  ports_.assign(options_.listen_addresses.size(), 0);
  for (size_t i = 0; i < ports_.size(); ++i) {
    builder_.AddListeningPort(options_.listen_addresses[i], grpc::InsecureServerCredentials(),
                              &ports_[i]);
  }

  builder_.SetMaxReceiveMessageSize(
      static_cast<int>(std::min<int64_t>(options_.max_receive_bytes, INT32_MAX)));
  grpc::ResourceQuota quota("weir");
  quota.Resize(static_cast<size_t>(options_.resource_quota_bytes));
  builder_.SetResourceQuota(quota);
  // With SO_REUSEPORT a second server could take the same port, and half of
  // the connections, in silence.
  builder_.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder_.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, options_.max_concurrent_streams);
  builder_.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS,
                              Milliseconds(options_.keepalive_interval));
  builder_.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS,
                              Milliseconds(options_.keepalive_timeout));
  builder_.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder_.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder_.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 5000);
  if (options_.max_connection_age != absl::InfiniteDuration()) {
    builder_.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS,
                                Milliseconds(options_.max_connection_age));
    builder_.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS, 10'000);
  }
  // gRPC would inflate a message of any size before it looks at the limit; see
  // Parse.
  builder_.AddChannelArgument(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0);
  builder_.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false);

  server_ = builder_.BuildAndStart();
  if (server_ == nullptr) {
    shut_down_ = true;
    for (auto& method : methods_) method->Join();
    for (size_t i = 0; i < ports_.size(); ++i) {
      if (ports_[i] > 0) continue;
      const std::string& address = options_.listen_addresses[i];
      const std::string why = BindError(address);
      return CannotListen(address, why.empty() ? "bind failed" : why);
    }
    return absl::InternalError("the gRPC server could not be built");
  }
  health_->Announce(options_.health == nullptr || options_.health().ok());
  for (auto& method : methods_) method->Start();
  if (options_.health != nullptr) methods_.front()->first_loop().Post([this] { WatchHealth(); });
  return absl::OkStatus();
}

void Server::WatchHealth() {
  health_->Announce(options_.health().ok());
  // Refused once the loop stops, and that is the end of it.
  methods_.front()->first_loop().PostAt(Clock::System().Now() + kHealthInterval,
                                        [this] { WatchHealth(); });
}

int Server::port(size_t i) const {
  WEIR_CHECK(i < ports_.size());
  return Unix(options_.listen_addresses[i]) ? 0 : ports_[i];
}

std::string Server::address(size_t i) const {
  const std::string& listen = options_.listen_addresses[i];
  return Unix(listen) ? listen : StrCat(listen.substr(0, listen.rfind(':')), ":", port(i));
}

void Server::Drain() {
  {
    MutexLock lock(&mu_);
    if (std::exchange(draining_, true)) return;
  }
  for (auto& method : methods_) method->Drain();
  health_->Drain();
}

void Server::Shutdown(absl::Time deadline) {
  if (std::exchange(shut_down_, true)) return;
  Drain();
  const grpc::Status status = ToGrpc(ShuttingDown());
  for (auto& method : methods_) method->FinishAll(status);
  health_->End(status);
  reflection_->End(status);
  // Closes the listeners, waits for what is in progress, and cancels it at the deadline.
  if (server_ != nullptr) server_->Shutdown(absl::ToChronoTime(deadline));
  for (auto& method : methods_) method->Join();
  server_ = nullptr;
}

}  // namespace weir::rpc
