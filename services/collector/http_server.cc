#include "services/collector/http_server.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <map>
#include <thread>

#include "absl/container/flat_hash_map.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "common/base/worker_pool.h"
#include "common/rpc/error.h"
#include "common/rpc/inflate.h"
#include "common/rpc/server.h"

namespace weir::collector {
namespace {

// Connections that are not accepted yet.
constexpr int kListenBacklog = 128;
constexpr size_t kReadBytes = 64 << 10;
// How exact timeouts are.
constexpr int kTickMilliseconds = 100;
// After an answer that ends a connection, what the client still sends is read for
// so long: closing at once would cut off the answer.
constexpr absl::Duration kLinger = absl::Seconds(2);
// What is registered with epoll beside connections, which are numbered from 1000.
constexpr uint64_t kWakeToken = 999;
constexpr uint64_t kFirstConnection = 1000;

HttpResponse PlainText(int status, std::string_view message) {
  return {
      .status = status, .content_type = "text/plain; charset=utf-8", .body = StrCat(message, "\n")};
}

// A bound and listening socket, or why there is none.
absl::StatusOr<int> ListenOn(const addrinfo& where) {
  const int fd =
      ::socket(where.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, where.ai_protocol);
  if (fd < 0) return absl::UnavailableError(std::strerror(errno));
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (where.ai_family == AF_INET6) ::setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  if (::bind(fd, where.ai_addr, where.ai_addrlen) == 0 && ::listen(fd, kListenBacklog) == 0) {
    return fd;
  }
  const int error = errno;
  ::close(fd);
  return absl::UnavailableError(std::strerror(error));
}

int PortOf(int fd) {
  sockaddr_storage name = {};
  socklen_t length = sizeof name;
  WEIR_CHECK(::getsockname(fd, reinterpret_cast<sockaddr*>(&name), &length) == 0);
  return ntohs(name.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6&>(name).sin6_port
                                          : reinterpret_cast<sockaddr_in&>(name).sin_port);
}

}  // namespace

// The server's thread and everything it owns.
class HttpServer::Loop {
 public:
  Loop(HttpServerOptions options, Clock& clock)
      : options_(std::move(options)),
        clock_(clock),
        outbox_(std::make_shared<HttpOutbox>(options_.max_held_bytes)) {}
  ~Loop() {
    Shutdown(absl::InfinitePast());
    for (const int fd : listeners_) ::close(fd);
    if (epoll_ >= 0) ::close(epoll_);
  }

  void AddPost(std::string path, HttpHandler& handler) {
    handlers_.emplace(std::move(path), &handler);
  }
  absl::Status Start();
  void Shutdown(absl::Time deadline);
  std::string address(size_t i) const { return addresses_[i]; }

 private:
  enum class State {
    kReading,    // a request, or for one
    kAnswering,  // a handler has it
    kWriting,    // the answer
    kLingering,  // all is said; waiting for the client to close
  };
  struct Connection {
    Connection(uint64_t number, int socket, HttpParser::Limits limits)
        : id(number), fd(socket), parser(limits) {}
    const uint64_t id;
    const int fd;
    HttpParser parser;
    State state = State::kReading;
    absl::Time deadline;
    absl::Time idle_since;  // when it came, or was answered last
    bool within_request = false;
    bool keep_alive = true;
    HttpHandler* handler = nullptr;  // of the request being read or answered
    HttpHead head;                   // likewise, once it is there
    uint64_t request_count = 0;      // given to handlers; the number of the last
    int64_t held_bytes = 0;          // of the body being read
    std::string early;               // what came of the next request
    std::string out;
    size_t out_sent = 0;
    uint32_t watched = 0;
  };

  absl::Status Listen(const std::string& address);
  void Run();
  void OnEvent(const epoll_event& event);
  void SendAnswers();
  void Expire(absl::Time now);
  bool Finished(absl::Time now);

  void WatchListeners(bool watch);
  void Accept(int listener);
  bool EvictIdle();

  // Each of these may close the connection, as its last act.
  void Read(Connection& connection);
  void Parse(Connection& connection, std::string_view input);
  void BeginBody(Connection& connection);
  void Dispatch(Connection& connection);
  void Fail(Connection& connection, const absl::Status& status);
  void FailParsing(Connection& connection);
  void Answer(Connection& connection, const HttpResponse& response);
  void Write(Connection& connection);
  void Close(Connection& connection);

  bool HoldBody(Connection& connection);
  void Watch(Connection& connection, uint32_t events);

  // Constant after Start.
  const HttpServerOptions options_;
  Clock& clock_;
  const std::shared_ptr<HttpOutbox> outbox_;
  std::map<std::string, HttpHandler*, std::less<>> handlers_;
  std::vector<std::string> addresses_;
  int epoll_ = -1;
  std::unique_ptr<WorkerPool> workers_;
  std::thread thread_;

  std::atomic<bool> stopping_{false};
  std::atomic<int64_t> stop_deadline_nanos_{0};

  // Owned by thread_ while it runs.
  std::vector<int> listeners_;
  bool listening_ = false;
  absl::Time listen_again_ = absl::InfinitePast();
  absl::flat_hash_map<uint64_t, std::unique_ptr<Connection>> connections_;
  uint64_t last_connection_ = kFirstConnection;
  absl::Time next_tick_ = absl::InfinitePast();
  std::array<char, kReadBytes> buffer_;
};

absl::Status HttpServer::Loop::Start() {
  for (const std::string& address : options_.listen_addresses) {
    WEIR_RETURN_IF_ERROR(rpc::CheckListenAddress(address, options_.insecure));
    WEIR_RETURN_IF_ERROR(Listen(address));
  }
  epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
  WEIR_CHECK(epoll_ >= 0);
  epoll_event wake = {.events = EPOLLIN, .data = {.u64 = kWakeToken}};
  WEIR_CHECK(::epoll_ctl(epoll_, EPOLL_CTL_ADD, outbox_->wake_fd(), &wake) == 0);
  WatchListeners(true);
  workers_ = std::make_unique<WorkerPool>(WorkerPool::Options{
      .threads = options_.worker_count, .max_queued_count = options_.max_connection_count});
  thread_ = std::thread([this] { Run(); });
  return absl::OkStatus();
}

// All addresses that a name stands for, on one port.
absl::Status HttpServer::Loop::Listen(const std::string& address) {
  const auto failed = [&](std::string_view why) {
    return absl::FailedPreconditionError(StrCat("cannot listen on ", address, ": ", why));
  };
  WEIR_ASSIGN_OR_RETURN(const rpc::HostPort where, rpc::SplitAddress(address));
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (const int error = ::getaddrinfo(where.host.c_str(), where.port.c_str(), &hints, &found)) {
    return failed(::gai_strerror(error));
  }
  int port = 0;
  absl::Status status;
  for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
    // The first socket's port, which may be the kernel's choice, is that of all.
    if (port != 0 && each->ai_family == AF_INET) {
      reinterpret_cast<sockaddr_in*>(each->ai_addr)->sin_port = htons(static_cast<uint16_t>(port));
    } else if (port != 0 && each->ai_family == AF_INET6) {
      reinterpret_cast<sockaddr_in6*>(each->ai_addr)->sin6_port =
          htons(static_cast<uint16_t>(port));
    }
    const absl::StatusOr<int> fd = ListenOn(*each);
    if (fd.ok()) {
      listeners_.push_back(*fd);
      port = PortOf(*fd);
    } else {
      status.Update(fd.status());
    }
  }
  ::freeaddrinfo(found);
  // "localhost" may name ::1 where there is no IPv6; one address is enough.
  if (port == 0) return failed(StdView(status.message()));
  addresses_.push_back(StrCat(address.substr(0, address.rfind(':')), ":", port));
  return absl::OkStatus();
}

void HttpServer::Loop::Shutdown(absl::Time deadline) {
  if (!thread_.joinable()) return;
  stop_deadline_nanos_ = absl::ToUnixNanos(deadline);
  stopping_ = true;
  outbox_->Wake();
  thread_.join();
  workers_->Stop();
}

void HttpServer::Loop::Run() {
  std::array<epoll_event, 64> events;
  while (true) {
    // Without connections there is nothing to expire.
    const bool ticking = !connections_.empty() || !listening_ || stopping_;
    const int count = ::epoll_wait(epoll_, events.data(), static_cast<int>(events.size()),
                                   ticking ? kTickMilliseconds : -1);
    for (int i = 0; i < count; ++i) OnEvent(events[static_cast<size_t>(i)]);
    SendAnswers();
    const absl::Time now = clock_.Now();
    if (now >= next_tick_ || next_tick_ - now > absl::Seconds(1)) {
      next_tick_ = now + absl::Milliseconds(kTickMilliseconds);
      Expire(now);
    }
    if (stopping_ && Finished(now)) break;
    WatchListeners(!stopping_ && now >= listen_again_ &&
                   (connections_.size() < options_.max_connection_count || EvictIdle()));
  }
  while (!connections_.empty()) Close(*connections_.begin()->second);
}

void HttpServer::Loop::OnEvent(const epoll_event& event) {
  const uint64_t token = event.data.u64;
  if (token == kWakeToken) return;  // SendAnswers comes anyway
  if (token < listeners_.size()) return Accept(listeners_[token]);
  const auto found = connections_.find(token);
  if (found == connections_.end()) return;
  Connection& connection = *found->second;
  if ((event.events & (EPOLLERR | EPOLLHUP)) != 0 &&
      (connection.state == State::kAnswering || connection.state == State::kWriting)) {
    return Close(connection);  // nobody is there to be answered
  }
  if (connection.state == State::kWriting) return Write(connection);
  if (connection.state != State::kAnswering) Read(connection);
}

void HttpServer::Loop::SendAnswers() {
  for (const HttpOutbox::Answer& answer : outbox_->TakeAll()) {
    const auto found = connections_.find(answer.connection);
    if (found == connections_.end()) continue;
    Connection& connection = *found->second;
    if (connection.state == State::kAnswering && connection.request_count == answer.call) {
      Answer(connection, answer.response);
    }
  }
}

void HttpServer::Loop::Expire(absl::Time now) {
  std::vector<uint64_t> expired;
  for (const auto& [id, connection] : connections_) {
    if (now >= connection->deadline) expired.push_back(id);
  }
  for (const uint64_t id : expired) {
    Connection& connection = *connections_.find(id)->second;
    if (connection.state == State::kAnswering) {
      Fail(connection,
           rpc::WithRetryDelay(rpc::Error(absl::StatusCode::kUnavailable, v1::OVERLOADED,
                                          StrCat("not durable after ",
                                                 absl::FormatDuration(options_.answer_timeout),
                                                 "; send the same again, it is counted once")),
                               absl::Seconds(1)));
    } else if (connection.state == State::kReading && connection.within_request) {
      Fail(connection, absl::DeadlineExceededError("the request took too long to arrive"));
    } else {
      Close(connection);
    }
  }
}

// Whether everything taken is answered, or it is time to go all the same.
bool HttpServer::Loop::Finished(absl::Time now) {
  WatchListeners(false);
  std::vector<Connection*> idle;
  for (const auto& [id, connection] : connections_) {
    if (connection->state == State::kReading || connection->state == State::kLingering) {
      idle.push_back(connection.get());
    }
  }
  for (Connection* connection : idle) Close(*connection);
  return connections_.empty() || absl::ToUnixNanos(now) >= stop_deadline_nanos_;
}

void HttpServer::Loop::WatchListeners(bool watch) {
  if (watch == listening_) return;
  listening_ = watch;
  for (size_t i = 0; i < listeners_.size(); ++i) {
    epoll_event event = {.events = EPOLLIN, .data = {.u64 = i}};
    WEIR_CHECK(::epoll_ctl(epoll_, watch ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, listeners_[i], &event) ==
               0);
  }
}

void HttpServer::Loop::Accept(int listener) {
  if (connections_.size() >= options_.max_connection_count) return;
  const int fd = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  const absl::Time now = clock_.Now();
  if (fd < 0) {
    // Out of descriptors, most likely: trying again at once would only spin.
    if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
      listen_again_ = now + absl::Milliseconds(kTickMilliseconds);
    }
    return;
  }
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  const uint64_t id = ++last_connection_;
  auto connection = std::make_unique<Connection>(id, fd, options_.limits);
  // A new connection is to speak soon; only one that has had an answer may be idle.
  connection->deadline = now + options_.head_timeout;
  connection->idle_since = now;
  Connection& added = *connection;
  connections_.emplace(id, std::move(connection));
  epoll_event event = {.events = 0, .data = {.u64 = id}};
  WEIR_CHECK(::epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) == 0);
  Watch(added, EPOLLIN);
}

// Makes room for the next connection, which may not have come yet, by ending the one
// that has had no request for longest.
bool HttpServer::Loop::EvictIdle() {
  const absl::Time now = clock_.Now();
  Connection* oldest = nullptr;
  for (const auto& [id, connection] : connections_) {
    // One that has just come is about to speak.
    const bool spoke = connection->request_count > 0 || now - connection->idle_since > kLinger;
    const bool idle = connection->state == State::kLingering ||
                      (connection->state == State::kReading && !connection->within_request);
    if (idle && spoke && (oldest == nullptr || connection->idle_since < oldest->idle_since)) {
      oldest = connection.get();
    }
  }
  if (oldest == nullptr) return false;
  Close(*oldest);
  return true;
}

void HttpServer::Loop::Read(Connection& connection) {
  const ssize_t size = ::recv(connection.fd, buffer_.data(), buffer_.size(), 0);
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (size <= 0) return Close(connection);
  if (connection.state == State::kLingering) return;  // said too late
  Parse(connection, {buffer_.data(), static_cast<size_t>(size)});
}

void HttpServer::Loop::Parse(Connection& connection, std::string_view input) {
  while (true) {
    const HttpParser::Event event = connection.parser.Feed(&input);
    if (!connection.within_request && connection.parser.within_request()) {
      connection.within_request = true;
      connection.deadline = clock_.Now() + options_.head_timeout;
    }
    if (event == HttpParser::Event::kFailed) return FailParsing(connection);
    if (!HoldBody(connection)) return Fail(connection, HttpMemoryTaken());
    switch (event) {
      case HttpParser::Event::kMore:
        return Watch(connection, EPOLLIN);
      case HttpParser::Event::kHead: {
        const uint64_t id = connection.id;
        BeginBody(connection);
        if (!connections_.contains(id) || connection.state != State::kReading) return;
        break;
      }
      case HttpParser::Event::kDone:
        connection.early = std::string(input);
        return Dispatch(connection);
      case HttpParser::Event::kFailed:
        return;
    }
  }
}

// The head is there: whether anybody wants the rest.
void HttpServer::Loop::BeginBody(Connection& connection) {
  connection.head = connection.parser.head();
  const HttpHead& head = connection.head;
  connection.keep_alive = head.keep_alive;
  connection.deadline = clock_.Now() + options_.body_timeout;
  const auto found = handlers_.find(head.path);
  if (found == handlers_.end()) {
    connection.keep_alive = false;
    return Answer(connection, PlainText(404, StrCat("there is nothing at ", head.path)));
  }
  connection.handler = found->second;
  if (head.method != "POST") {
    connection.keep_alive = false;
    HttpResponse response = PlainText(405, StrCat(head.path, " takes POST only"));
    response.headers.emplace_back("Allow", "POST");
    return Answer(connection, response);
  }
  if (const absl::Status checked = connection.handler->Check(head); !checked.ok()) {
    return Fail(connection, checked);
  }
  if (head.expects_continue) {
    // So short that it fits into the empty buffer of a socket; a client that has not
    // taken it is no longer there.
    constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
    if (::send(connection.fd, kContinue.data(), kContinue.size(), MSG_NOSIGNAL) !=
        static_cast<ssize_t>(kContinue.size())) {
      Close(connection);
    }
  }
}

void HttpServer::Loop::Dispatch(Connection& connection) {
  connection.state = State::kAnswering;
  connection.deadline = clock_.Now() + options_.answer_timeout;
  Watch(connection, 0);
  HttpRequest request = {.head = connection.head, .body = connection.parser.TakeBody()};
  auto call =
      std::make_shared<HttpCall>(outbox_, connection.id, ++connection.request_count,
                                 std::move(request), std::exchange(connection.held_bytes, 0));
  // The queue has room for a request of every connection.
  const bool taken = workers_->TrySubmit([handler = connection.handler, call] {
    handler->Take(call);
    call->ReleaseRequest();
  });
  WEIR_CHECK(taken);
}

void HttpServer::Loop::Fail(Connection& connection, const absl::Status& status) {
  // The rest of the request is not read, so nothing can follow it.
  if (connection.state == State::kReading) connection.keep_alive = false;
  Answer(connection,
         connection.handler == nullptr
             ? PlainText(absl::IsDeadlineExceeded(status) ? 408 : 503, StdView(status.message()))
             : connection.handler->Failure(connection.head, status));
}

void HttpServer::Loop::FailParsing(Connection& connection) {
  const HttpParser::Error& error = connection.parser.error();
  connection.keep_alive = false;
  const auto found = handlers_.find(connection.parser.head().path);
  if (error.http_status == 413 && found != handlers_.end()) {
    connection.handler = found->second;
    connection.head = connection.parser.head();
    return Fail(connection, rpc::MessageTooLarge(options_.limits.max_body_bytes));
  }
  Answer(connection, PlainText(error.http_status, error.message));
}

void HttpServer::Loop::Answer(Connection& connection, const HttpResponse& response) {
  connection.keep_alive = connection.keep_alive && !stopping_;
  connection.out =
      RenderHttp(response, connection.keep_alive, connection.head.method != "HEAD", clock_.Now());
  connection.out_sent = 0;
  connection.state = State::kWriting;
  connection.deadline = clock_.Now() + options_.write_timeout;
  Write(connection);
}

void HttpServer::Loop::Write(Connection& connection) {
  const std::string_view rest = std::string_view(connection.out).substr(connection.out_sent);
  const ssize_t sent = ::send(connection.fd, rest.data(), rest.size(), MSG_NOSIGNAL);
  if (sent < 0 && errno != EAGAIN && errno != EINTR) return Close(connection);
  connection.out_sent += static_cast<size_t>(std::max<ssize_t>(sent, 0));
  if (connection.out_sent < connection.out.size()) return Watch(connection, EPOLLOUT);
  connection.out.clear();
  connection.head = {};
  connection.handler = nullptr;
  connection.within_request = false;
  outbox_->Release(std::exchange(connection.held_bytes, 0));
  connection.idle_since = clock_.Now();
  if (!connection.keep_alive) {
    ::shutdown(connection.fd, SHUT_WR);
    connection.parser.Abandon();
    connection.state = State::kLingering;
    connection.deadline = connection.idle_since + kLinger;
    return Watch(connection, EPOLLIN);
  }
  connection.state = State::kReading;
  connection.deadline = connection.idle_since + options_.idle_timeout;
  const std::string early = std::exchange(connection.early, {});
  Parse(connection, early);
}

void HttpServer::Loop::Close(Connection& connection) {
  outbox_->Release(connection.held_bytes);
  ::close(connection.fd);
  connections_.erase(connection.id);
}

bool HttpServer::Loop::HoldBody(Connection& connection) {
  const int64_t more = connection.parser.body_bytes() - connection.held_bytes;
  if (more <= 0) return true;
  if (!outbox_->Hold(more, connection.held_bytes)) return false;
  connection.held_bytes += more;
  return true;
}

void HttpServer::Loop::Watch(Connection& connection, uint32_t events) {
  if (connection.watched == events) return;
  connection.watched = events;
  epoll_event event = {.events = events, .data = {.u64 = connection.id}};
  WEIR_CHECK(::epoll_ctl(epoll_, EPOLL_CTL_MOD, connection.fd, &event) == 0);
}

HttpServer::HttpServer(HttpServerOptions options, Clock& clock)
    : loop_(std::make_unique<Loop>(std::move(options), clock)) {}
HttpServer::~HttpServer() = default;

void HttpServer::AddPost(std::string path, HttpHandler& handler) {
  loop_->AddPost(std::move(path), handler);
}
absl::Status HttpServer::Start() { return loop_->Start(); }
std::string HttpServer::address(size_t i) const { return loop_->address(i); }
void HttpServer::Shutdown(absl::Time deadline) { loop_->Shutdown(deadline); }

}  // namespace weir::collector
