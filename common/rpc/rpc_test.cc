// The stream framework over real sockets on loopback.
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <deque>
#include <filesystem>
#include <functional>
#include <future>
#include <set>

#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/base/strings.h"
#include "common/rpc/buffer.h"
#include "common/rpc/error.h"
#include "common/rpc/server.h"
#include "common/rpc/stream_client.h"
#include "common/testing/status_matchers.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "grpc/reflection/v1/reflection.grpc.pb.h"
#include "grpc/reflection/v1alpha/reflection.grpc.pb.h"
#include "weir/v1/ingest_service.grpc.pb.h"

namespace weir::rpc {
namespace {

using test::IsOk;
using test::StatusIs;
using ::testing::HasSubstr;

constexpr char kMethod[] = "/weir.v1.IngestService/StreamBatches";

// Waits for what other threads do, up to a bound that only a failure reaches.
class Watch {
 public:
  void Do(const std::function<void()>& change) {
    MutexLock lock(&mu_);
    change();
    changed_.NotifyAll();
  }
  bool Await(const std::function<bool()>& condition, absl::Duration limit = absl::Seconds(30)) {
    const absl::Time deadline = Clock::System().Now() + limit;
    MutexLock lock(&mu_);
    while (!condition()) {
      if (!Clock::System().WaitUntil(&mu_, &changed_, deadline)) return condition();
    }
    return true;
  }

 private:
  Mutex mu_;
  CondVar changed_;
};

grpc::ByteBuffer Bytes(std::string_view text) {
  const grpc::Slice slice(text.data(), text.size());
  return grpc::ByteBuffer(&slice, 1);
}

std::string Text(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  EXPECT_TRUE(buffer.Dump(&slices).ok());
  std::string text;
  for (const grpc::Slice& slice : slices) {
    text.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return text;
}

// Raw streams and a callback method in one service, as the collector has them.
class Service final : public v1::IngestService::WithRawMethod_StreamBatches<
                          v1::IngestService::WithCallbackMethod_Push<v1::IngestService::Service>> {
 public:
  grpc::ServerUnaryReactor* Push(grpc::CallbackServerContext* context,
                                 const v1::PushRequest* request,
                                 v1::PushResponse* response) override {
    auto* reactor = context->DefaultReactor();
    if (request->samples().empty()) {
      reactor->Finish(ToGrpc(InvalidField("samples", "must not be empty")));
    } else {
      response->set_accepted_count(request->samples_size());
      reactor->Finish(grpc::Status::OK);
    }
    return reactor;
  }
};

// A handler made of functions; the defaults echo until the client half-closes.
struct Script {
  std::function<bool(ServerStream&, grpc::ByteBuffer&)> on_message = [](ServerStream& stream,
                                                                        grpc::ByteBuffer& message) {
    stream.Write(std::move(message));
    return true;
  };
  std::function<void(ServerStream&)> on_reads_done = [](ServerStream& stream) {
    stream.Finish(grpc::Status::OK);
  };
  std::function<void(ServerStream&)> on_open = [](ServerStream&) {};
};

// A server whose streams follow a script, and what happened to them.
class TestServer {
 public:
  explicit TestServer(Script script = {}, RawStreamOptions stream_options = {},
                      std::string address = "127.0.0.1:0")
      : script_(std::move(script)),
        server_({.listen_addresses = {std::move(address)}, .health = [this] {
                   return healthy_ ? absl::OkStatus() : absl::UnavailableError("not now");
                 }}) {
    server_.AddService(&service_, "weir.v1.IngestService");
    loop_ = &server_.AddRawStream(
        stream_options, [this](auto... arguments) { service_.RequestStreamBatches(arguments...); },
        [this](std::shared_ptr<ServerStream> stream) {
          return std::make_unique<Handler>(*this, std::move(stream));
        });
  }

  absl::Status Start() { return server_.Start(); }
  std::string address() const { return StrCat("127.0.0.1:", server_.port()); }
  Server& server() { return server_; }
  EventLoop& loop() { return *loop_; }
  void set_healthy(bool healthy) { healthy_ = healthy; }

  bool AwaitClosed(int count) {
    return watch_.Await([&] { return closed_ == count; });
  }
  bool AwaitOpened(int count) {
    return watch_.Await([&] { return opened_ == count; });
  }
  bool AwaitReceived(int64_t count) {
    return watch_.Await([&] { return received_ >= count; });
  }
  std::shared_ptr<ServerStream> last_stream() {
    std::shared_ptr<ServerStream> stream;
    watch_.Do([&] { stream = last_stream_; });
    return stream;
  }
  int64_t received() {
    int64_t received = 0;
    watch_.Do([&] { received = received_; });
    return received;
  }

 private:
  class Handler final : public StreamHandler {
   public:
    Handler(TestServer& server, std::shared_ptr<ServerStream> stream)
        : server_(server), stream_(std::move(stream)) {
      EXPECT_TRUE(stream_->loop().InLoop());
      server_.watch_.Do([&] {
        ++server_.opened_;
        server_.last_stream_ = stream_;
      });
      server_.script_.on_open(*stream_);
    }
    bool OnMessage(grpc::ByteBuffer& message) override {
      server_.watch_.Do([&] { ++server_.received_; });
      return server_.script_.on_message(*stream_, message);
    }
    void OnReadsDone() override { server_.script_.on_reads_done(*stream_); }
    void OnClose() override {
      EXPECT_FALSE(stream_->Write(Bytes("late")));
      server_.watch_.Do([&] {
        ++server_.closed_;
        server_.last_stream_ = nullptr;
      });
    }

   private:
    TestServer& server_;
    const std::shared_ptr<ServerStream> stream_;
  };

  const Script script_;
  std::atomic<bool> healthy_{true};
  Service service_;
  Watch watch_;
  int opened_ = 0;
  int closed_ = 0;
  int64_t received_ = 0;
  std::shared_ptr<ServerStream> last_stream_;
  Server server_;
  EventLoop* loop_;
};

// A client that keeps what it gets.
class TestClient final : private StreamClient::Handler {
 public:
  explicit TestClient(std::string target, absl::Duration connect_timeout = absl::Seconds(5))
      : client_({.target = std::move(target),
                 .method = kMethod,
                 .metadata = {{"weir-test", "yes"}},
                 .connect_timeout = connect_timeout},
                *this) {}
  ~TestClient() { client_.Stop(); }

  StreamClient& stream() { return client_; }
  bool AwaitConnected(int count = 1) {
    return watch_.Await([&] { return connected_ == count; });
  }
  // Until a connection holds: gRPC itself pauses between attempts.
  bool ConnectAgainAndAgain() {
    const absl::Time deadline = Clock::System().Now() + absl::Seconds(10);
    while (Clock::System().Now() < deadline) {
      int connected = 0;
      watch_.Do([&] { connected = connected_; });
      EXPECT_TRUE(client_.Connect());
      EXPECT_TRUE(watch_.Await([&] { return connected_ > connected || !closed_.empty(); }));
      bool open = false;
      watch_.Do([&] {
        open = closed_.empty();
        closed_.clear();
      });
      if (open) return true;
    }
    return false;
  }
  bool AwaitMessages(size_t count) {
    return watch_.Await([&] { return messages_.size() >= count; });
  }
  absl::Status AwaitClosed() {
    EXPECT_TRUE(watch_.Await([&] { return !closed_.empty(); }));
    absl::Status status = absl::UnknownError("not closed");
    watch_.Do([&] {
      if (closed_.empty()) return;
      status = closed_.front();
      closed_.pop_front();
    });
    return status;
  }
  std::vector<std::string> messages() {
    std::vector<std::string> messages;
    watch_.Do([&] { messages = messages_; });
    return messages;
  }

 private:
  void OnConnected() override {
    watch_.Do([&] { ++connected_; });
  }
  void OnMessage(grpc::ByteBuffer& message) override {
    EXPECT_TRUE(client_.loop().InLoop());
    watch_.Do([&] { messages_.push_back(Text(message)); });
  }
  void OnClosed(const absl::Status& status) override {
    watch_.Do([&] { closed_.push_back(status); });
  }

  Watch watch_;
  int connected_ = 0;
  std::vector<std::string> messages_;
  std::deque<absl::Status> closed_;
  StreamClient client_;
};

absl::Time Soon() { return Clock::System().Now() + absl::Seconds(5); }

TEST(RpcTest, AHundredThousandMessagesComeBackInOrder) {
  TestServer server;
  ASSERT_THAT(server.Start(), IsOk());
  TestClient client(server.address());
  ASSERT_TRUE(client.stream().Connect());
  constexpr int kMessages = 100'000;
  int refused = 0;
  for (int i = 0; i < kMessages; ++i) {
    while (!client.stream().Write(Bytes(std::to_string(i)))) ++refused;
  }
  client.stream().Close();
  EXPECT_THAT(client.AwaitClosed(), IsOk());
  const std::vector<std::string> messages = client.messages();
  ASSERT_EQ(messages.size(), static_cast<size_t>(kMessages));
  for (int i = 0; i < kMessages; ++i) ASSERT_EQ(messages[i], std::to_string(i));
  EXPECT_EQ(refused, 0);
  EXPECT_TRUE(server.AwaitClosed(1));
}

TEST(RpcTest, WhatIsQueuedBeforeTheHalfCloseIsAnswered) {
  TestServer server;
  ASSERT_THAT(server.Start(), IsOk());
  TestClient client(server.address());
  ASSERT_TRUE(client.stream().Connect());
  EXPECT_TRUE(client.stream().Write(Bytes("one")));
  client.stream().Close();
  EXPECT_FALSE(client.stream().Write(Bytes("two")));
  EXPECT_THAT(client.AwaitClosed(), IsOk());
  EXPECT_EQ(client.messages(), std::vector<std::string>{"one"});
  EXPECT_EQ(client.stream().queued_bytes(), 0);
}

TEST(RpcTest, TheServerSeesMetadataAndPeer) {
  std::promise<std::pair<std::string, std::string>> seen;
  TestServer server({.on_open = [&](ServerStream& stream) {
    EXPECT_EQ(stream.metadata("absent"), std::nullopt);
    seen.set_value({stream.metadata("weir-test").value_or("none"), stream.peer()});
  }});
  ASSERT_THAT(server.Start(), IsOk());
  TestClient client(server.address());
  ASSERT_TRUE(client.stream().Connect());
  const auto [metadata, peer] = seen.get_future().get();
  EXPECT_EQ(metadata, "yes");
  EXPECT_THAT(peer, HasSubstr("127.0.0.1"));
}

TEST(RpcTest, AServersErrorReachesTheClientWithItsDetails) {
  TestServer server({.on_message = [](ServerStream& stream, grpc::ByteBuffer&) {
    stream.Write(Bytes("last words"));
    stream.Finish(ToGrpc(WithRetryDelay(
        Error(absl::StatusCode::kUnavailable, v1::LOG_FULL, "no room"), absl::Seconds(2))));
    EXPECT_FALSE(stream.Write(Bytes("after the end")));
    stream.Finish(grpc::Status::OK);  // only the first counts
    return true;
  }});
  ASSERT_THAT(server.Start(), IsOk());
  TestClient client(server.address());
  ASSERT_TRUE(client.stream().Connect());
  client.stream().Write(Bytes("x"));
  const absl::Status status = client.AwaitClosed();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnavailable, "no room"));
  EXPECT_EQ(ReasonOf(status), v1::LOG_FULL);
  EXPECT_EQ(RetryDelayOf(status), absl::Seconds(2));
  EXPECT_EQ(client.messages(), std::vector<std::string>{"last words"});
  EXPECT_TRUE(server.AwaitClosed(1));
}

TEST(RpcTest, ACancelledClientClosesTheHandler) {
  TestServer server;
  ASSERT_THAT(server.Start(), IsOk());
  TestClient client(server.address());
  ASSERT_TRUE(client.stream().Connect());
  ASSERT_TRUE(client.AwaitConnected());
  EXPECT_FALSE(client.stream().Connect());  // there is one
  client.stream().Cancel();
  EXPECT_THAT(client.AwaitClosed(), StatusIs(absl::StatusCode::kCancelled));
  EXPECT_TRUE(server.AwaitClosed(1));
  EXPECT_FALSE(client.stream().Write(Bytes("nobody")));
}

TEST(RpcTest, AServerMayCancel) {
  TestServer server({.on_message = [](ServerStream& stream, grpc::ByteBuffer&) {
    stream.Cancel();
    return true;
  }});
  ASSERT_THAT(server.Start(), IsOk());
  TestClient client(server.address());
  ASSERT_TRUE(client.stream().Connect());
  client.stream().Write(Bytes("x"));
  EXPECT_THAT(client.AwaitClosed(), StatusIs(absl::StatusCode::kCancelled));
  EXPECT_TRUE(server.AwaitClosed(1));
}

TEST(RpcTest, APausedStreamReadsOnlyWhenResumed) {
  TestServer server({.on_message = [](ServerStream&, grpc::ByteBuffer&) { return false; }});
  ASSERT_THAT(server.Start(), IsOk());
  TestClient client(server.address());
  ASSERT_TRUE(client.stream().Connect());
  for (int i = 0; i < 3; ++i) client.stream().Write(Bytes("x"));
  for (int i = 1; i <= 3; ++i) {
    ASSERT_TRUE(server.AwaitReceived(i));
    // Twice through the loop and the wire is quiet: nothing more was read.
    std::promise<void> turned;
    server.loop().Post([&] { turned.set_value(); });
    turned.get_future().wait();
    EXPECT_EQ(server.received(), i);
    server.last_stream()->ResumeReads();
  }
  client.stream().Cancel();
  EXPECT_TRUE(server.AwaitClosed(1));
}

TEST(RpcTest, AResumeThatOvertakesThePauseIsNotLost) {
  TestServer server({.on_message = [](ServerStream& stream, grpc::ByteBuffer&) {
    stream.ResumeReads();
    return false;
  }});
  ASSERT_THAT(server.Start(), IsOk());
  TestClient client(server.address());
  ASSERT_TRUE(client.stream().Connect());
  for (int i = 0; i < 1000; ++i) client.stream().Write(Bytes("x"));
  EXPECT_TRUE(server.AwaitReceived(1000));
}

TEST(RpcTest, ResumingFromAnotherThreadLosesNoMessage) {
  TestServer server({.on_message = [](ServerStream&, grpc::ByteBuffer&) { return false; }});
  ASSERT_THAT(server.Start(), IsOk());
  TestClient client(server.address());
  ASSERT_TRUE(client.stream().Connect());
  ASSERT_TRUE(server.AwaitOpened(1));
  const auto stream = server.last_stream();
  std::atomic<bool> stop = false;
  std::thread resumer([&] {
    while (!stop) stream->ResumeReads();
  });
  for (int i = 0; i < 20'000; ++i) client.stream().Write(Bytes("x"));
  EXPECT_TRUE(server.AwaitReceived(20'000));
  stop = true;
  resumer.join();
}

TEST(RpcTest, APausedStreamStillNoticesThatItsClientIsGone) {
  TestServer server({.on_message = [](ServerStream&, grpc::ByteBuffer&) { return false; }});
  ASSERT_THAT(server.Start(), IsOk());
  {
    TestClient client(server.address());
    ASSERT_TRUE(client.stream().Connect());
    client.stream().Write(Bytes("x"));
    ASSERT_TRUE(server.AwaitReceived(1));
  }
  EXPECT_TRUE(server.AwaitClosed(1));
}

TEST(RpcTest, AClientThatDoesNotReadCannotMakeTheServerGrow) {
  TestServer server({}, {.max_queued_bytes = 1 << 20});
  ASSERT_THAT(server.Start(), IsOk());
  auto stub = v1::IngestService::NewStub(
      grpc::CreateChannel(server.address(), grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  const auto call = stub->StreamBatches(&context);
  ASSERT_TRUE(server.AwaitOpened(1));
  const auto stream = server.last_stream();
  const std::string block(100 << 10, 'x');
  int accepted = 0;
  while (stream->Write(Bytes(block))) ASSERT_LT(++accepted, 10'000);
  EXPECT_LE(stream->queued_bytes(), 1 << 20);
  stream->Finish(ToGrpc(absl::UnavailableError("too slow")));
  context.TryCancel();
  EXPECT_TRUE(server.AwaitClosed(1));
  EXPECT_EQ(stream->queued_bytes(), 0);
}

TEST(RpcTest, AnEmptyQueueTakesOneMessageOfAnySize) {
  TestServer server({}, {.max_queued_bytes = 10});
  ASSERT_THAT(server.Start(), IsOk());
  TestClient client(server.address());
  ASSERT_TRUE(client.stream().Connect());
  client.stream().Write(Bytes(std::string(1 << 20, 'x')));
  ASSERT_TRUE(client.AwaitMessages(1));
  EXPECT_EQ(client.messages()[0].size(), 1u << 20);
}

TEST(RpcTest, ManyThreadsWriteToOneStreamWhileItEnds) {
  for (int round = 0; round < 12; ++round) {
    TestServer server;
    ASSERT_THAT(server.Start(), IsOk());
    TestClient client(server.address());
    ASSERT_TRUE(client.stream().Connect());
    ASSERT_TRUE(server.AwaitOpened(1));
    const auto stream = server.last_stream();
    std::vector<std::thread> writers;
    for (int i = 0; i < 3; ++i) {
      writers.emplace_back([&] {
        while (stream->Write(Bytes("x")) && client.stream().Write(Bytes("y"))) {
        }
      });
    }
    ASSERT_TRUE(client.AwaitMessages(10));
    if (round % 4 == 0) client.stream().Cancel();
    if (round % 4 == 1) stream->Cancel();
    if (round % 4 == 2) stream->Finish(grpc::Status::OK);
    if (round % 4 == 3) client.stream().Stop();
    for (std::thread& writer : writers) writer.join();
    client.AwaitClosed().IgnoreError();
    stream->Cancel();
    stream->Finish(grpc::Status::OK);
    stream->ResumeReads();
    EXPECT_TRUE(server.AwaitClosed(1));
  }
}

TEST(RpcTest, ShutdownEndsOpenStreamsWithinTwoSeconds) {
  Script script;
  script.on_reads_done = [](ServerStream&) {};  // a handler that does not care to end
  TestServer server(script, {.threads = 2});
  ASSERT_THAT(server.Start(), IsOk());
  std::vector<std::unique_ptr<TestClient>> clients;
  for (int i = 0; i < 20; ++i) {
    clients.push_back(std::make_unique<TestClient>(server.address()));
    ASSERT_TRUE(clients.back()->stream().Connect());
  }
  ASSERT_TRUE(server.AwaitOpened(20));
  const absl::Time start = Clock::System().Now();
  server.server().Shutdown(start + absl::Seconds(10));
  EXPECT_LT(Clock::System().Now() - start, absl::Seconds(2));
  EXPECT_TRUE(server.AwaitClosed(20));
  for (const auto& client : clients) {
    const absl::Status status = client->AwaitClosed();
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnavailable));
    EXPECT_EQ(ReasonOf(status), v1::SHUTTING_DOWN);
  }
}

TEST(RpcTest, ShutdownDoesNotWaitForAClientThatDoesNotRead) {
  TestServer server;
  ASSERT_THAT(server.Start(), IsOk());
  auto stub = v1::IngestService::NewStub(
      grpc::CreateChannel(server.address(), grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  const auto call = stub->StreamBatches(&context);
  ASSERT_TRUE(server.AwaitOpened(1));
  const auto stream = server.last_stream();
  const std::string block(1 << 20, 'x');
  while (stream->Write(Bytes(block))) {
  }
  const absl::Time start = Clock::System().Now();
  server.server().Shutdown(start + absl::Milliseconds(200));
  EXPECT_LT(Clock::System().Now() - start, absl::Seconds(2));
  EXPECT_TRUE(server.AwaitClosed(1));
}

TEST(RpcTest, ADrainingServerKeepsOldStreamsAndRefusesNewOnes) {
  TestServer server;
  ASSERT_THAT(server.Start(), IsOk());
  TestClient old_client(server.address());
  ASSERT_TRUE(old_client.stream().Connect());
  ASSERT_TRUE(server.AwaitOpened(1));
  server.server().Drain();
  TestClient new_client(server.address());
  ASSERT_TRUE(new_client.stream().Connect());
  EXPECT_EQ(ReasonOf(new_client.AwaitClosed()), v1::SHUTTING_DOWN);
  old_client.stream().Write(Bytes("still here"));
  EXPECT_TRUE(old_client.AwaitMessages(1));
}

TEST(RpcTest, StreamsBeyondTheLimitAreToldToComeLater) {
  TestServer server({}, {.max_open_streams = 1});
  ASSERT_THAT(server.Start(), IsOk());
  TestClient first(server.address());
  ASSERT_TRUE(first.stream().Connect());
  ASSERT_TRUE(first.AwaitConnected());
  TestClient second(server.address());
  ASSERT_TRUE(second.stream().Connect());
  const absl::Status status = second.AwaitClosed();
  EXPECT_EQ(ReasonOf(status), v1::OVERLOADED);
  EXPECT_NE(RetryDelayOf(status), std::nullopt);
  first.stream().Cancel();
  ASSERT_TRUE(server.AwaitClosed(1));
  ASSERT_TRUE(second.stream().Connect());
  EXPECT_TRUE(server.AwaitOpened(2));
}

TEST(RpcTest, AClientReconnectsToARestartedServer) {
  const std::string path = StrCat(::testing::TempDir(), "weir-rpc-", ::getpid(), ".sock");
  auto server = std::make_unique<TestServer>(Script(), RawStreamOptions(), "unix:" + path);
  ASSERT_THAT(server->Start(), IsOk());
  EXPECT_EQ(server->server().port(), 0);
  TestClient client("unix:" + path);
  for (int restart = 1; restart <= 3; ++restart) {
    ASSERT_TRUE(client.ConnectAgainAndAgain());
    ASSERT_TRUE(client.stream().Write(Bytes("hello")));
    ASSERT_TRUE(client.AwaitMessages(restart));
    server = nullptr;
    EXPECT_THAT(client.AwaitClosed(), StatusIs(absl::StatusCode::kUnavailable));
    ASSERT_TRUE(client.stream().Connect());
    EXPECT_THAT(client.AwaitClosed(), StatusIs(absl::StatusCode::kUnavailable));  // nobody there
    server = std::make_unique<TestServer>(Script(), RawStreamOptions(), "unix:" + path);
    ASSERT_THAT(server->Start(), IsOk());
  }
  server = nullptr;
  std::filesystem::remove(path);
}

TEST(RpcTest, AnAttemptToConnectEndsByItsDeadline) {
  // A server that listens and never speaks.
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in name = {};
  name.sin_family = AF_INET;
  name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof name;
  ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&name), length), 0);
  ASSERT_EQ(::listen(fd, 1), 0);
  ASSERT_EQ(::getsockname(fd, reinterpret_cast<sockaddr*>(&name), &length), 0);
  const absl::Time start = Clock::System().Now();
  TestClient client(StrCat("127.0.0.1:", ntohs(name.sin_port)), absl::Milliseconds(100));
  ASSERT_TRUE(client.stream().Connect());
  // gRPC's own limit on an attempt is the same; either may be the one to say so.
  EXPECT_THAT(client.AwaitClosed(),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("127.0.0.1")));
  EXPECT_LT(Clock::System().Now() - start, absl::Seconds(2));
  ::close(fd);
}

TEST(RpcTest, AMethodThatIsNotThereIsNoConnection) {
  TestServer server;
  ASSERT_THAT(server.Start(), IsOk());
  class Handler final : public StreamClient::Handler {
   public:
    void OnConnected() override { connected = true; }
    void OnMessage(grpc::ByteBuffer&) override {}
    void OnClosed(const absl::Status& status) override { closed.set_value(status); }
    std::atomic<bool> connected = false;
    std::promise<absl::Status> closed;
  } handler;
  StreamClient client({.target = server.address(), .method = "/weir.v1.IngestService/Nothing"},
                      handler);
  ASSERT_TRUE(client.Connect());
  EXPECT_THAT(handler.closed.get_future().get(), StatusIs(absl::StatusCode::kUnimplemented));
  EXPECT_FALSE(handler.connected);
}

TEST(RpcTest, AMessageOverTheLimitEndsTheStreamAndNotTheServer) {
  TestServer server;
  ASSERT_THAT(server.Start(), IsOk());
  TestClient client(server.address());
  ASSERT_TRUE(client.stream().Connect());
  const std::string large(64 << 20, 'x');
  ASSERT_TRUE(client.stream().Write(Bytes(large)));
  ASSERT_TRUE(client.AwaitMessages(1));
  ASSERT_TRUE(client.stream().Write(Bytes(large + "x")));
  EXPECT_THAT(client.AwaitClosed(), StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_TRUE(server.AwaitClosed(1));
  ASSERT_TRUE(client.stream().Connect());
  client.stream().Write(Bytes("small"));
  EXPECT_TRUE(client.AwaitMessages(2));
}

TEST(RpcTest, ACompressedMessageArrivesAsItWasSentAndIsInflatedWhenParsed) {
  std::promise<std::pair<size_t, size_t>> sizes;
  TestServer server({.on_message = [&](ServerStream& stream, grpc::ByteBuffer& message) {
    v1::StreamBatchesRequest request;
    EXPECT_THAT(Parse(message, &request), IsOk());
    sizes.set_value({message.Length(), request.open_session().session_id().size()});
    stream.Finish(grpc::Status::OK);
    return true;
  }});
  ASSERT_THAT(server.Start(), IsOk());
  auto stub = v1::IngestService::NewStub(
      grpc::CreateChannel(server.address(), grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  context.set_compression_algorithm(GRPC_COMPRESS_GZIP);
  const auto call = stub->StreamBatches(&context);
  v1::StreamBatchesRequest request;
  request.mutable_open_session()->set_session_id(std::string(1 << 20, 'x'));
  ASSERT_TRUE(call->Write(request));
  const auto [sent, inflated] = sizes.get_future().get();
  EXPECT_LT(sent, 10'000u);
  EXPECT_EQ(inflated, 1u << 20);
  EXPECT_TRUE(call->Finish().ok());
}

TEST(RpcTest, CallbackMethodsHealthAndReflectionShareThePort) {
  TestServer server;
  ASSERT_THAT(server.Start(), IsOk());
  const auto channel = grpc::CreateChannel(server.address(), grpc::InsecureChannelCredentials());
  auto stub = v1::IngestService::NewStub(channel);
  {
    grpc::ClientContext context;
    v1::PushRequest request;
    request.add_samples()->set_name("tokens");
    v1::PushResponse response;
    ASSERT_TRUE(stub->Push(&context, request, &response).ok());
    EXPECT_EQ(response.accepted_count(), 1);
  }
  {
    grpc::ClientContext context;
    v1::PushResponse response;
    const absl::Status status = FromGrpc(stub->Push(&context, v1::PushRequest(), &response));
    EXPECT_EQ(ReasonOf(status), v1::INVALID_FIELD);
  }
  grpc::GenericStub generic(channel);
  grpc::CompletionQueue queue;
  const auto call = [&](const std::string& method, const std::string& request, bool stream) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(Soon()));
    grpc::ByteBuffer response;
    grpc::Status status;
    void* tag;
    bool ok = false;
    if (!stream) {
      auto rpc = generic.PrepareUnaryCall(&context, method, Bytes(request), &queue);
      rpc->StartCall();
      rpc->Finish(&response, &status, nullptr);
      queue.Next(&tag, &ok);
    } else {
      auto rpc = generic.Call(&context, method, &queue, nullptr);
      queue.Next(&tag, &ok);
      rpc->Write(Bytes(request), nullptr);
      queue.Next(&tag, &ok);
      rpc->Read(&response, nullptr);
      queue.Next(&tag, &ok);
      rpc->WritesDone(nullptr);
      queue.Next(&tag, &ok);
      rpc->Finish(&status, nullptr);
      queue.Next(&tag, &ok);
    }
    return status.ok() ? Text(response) : "error " + status.error_message();
  };
  // HealthCheckRequest{service: "..."} -> HealthCheckResponse{status: SERVING = 1}.
  const std::string name = "weir.v1.IngestService";
  const std::string health = std::string("\x0a") + static_cast<char>(name.size()) + name;
  const auto await_health = [&](const std::string& service, const std::string& wanted) {
    const absl::Time deadline = Soon();
    std::string answer;
    do {
      answer = call("/grpc.health.v1.Health/Check", service, false);
    } while (answer != wanted && Clock::System().Now() < deadline);
    EXPECT_EQ(answer, wanted);
  };
  EXPECT_EQ(call("/grpc.health.v1.Health/Check", health, false), "\x08\x01");
  EXPECT_EQ(call("/grpc.health.v1.Health/Check", "", false), "\x08\x01");
  server.set_healthy(false);
  await_health(health, "\x08\x02");
  await_health("", "\x08\x02");
  server.set_healthy(true);
  await_health(health, "\x08\x01");
  await_health("", "\x08\x01");
  // ServerReflectionRequest{list_services: ""}.
  for (const char* version : {"v1", "v1alpha"}) {
    EXPECT_THAT(call(StrCat("/grpc.reflection.", version, ".ServerReflection/ServerReflectionInfo"),
                     std::string("\x3a\x00", 2), true),
                HasSubstr(name));
  }
  server.server().Drain();
  EXPECT_EQ(call("/grpc.health.v1.Health/Check", "", false), "\x08\x02");
  queue.Shutdown();
  void* tag;
  bool ok;
  EXPECT_FALSE(queue.Next(&tag, &ok));
}

TEST(RpcTest, AServerThatIsNotHealthyYetSaysSoFromTheStart) {
  TestServer server;
  server.set_healthy(false);
  ASSERT_THAT(server.Start(), IsOk());
  grpc::GenericStub generic(
      grpc::CreateChannel(server.address(), grpc::InsecureChannelCredentials()));
  grpc::CompletionQueue queue;
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(Soon()));
  auto call = generic.PrepareUnaryCall(&context, "/grpc.health.v1.Health/Check", Bytes(""), &queue);
  call->StartCall();
  grpc::ByteBuffer response;
  grpc::Status status;
  call->Finish(&response, &status, nullptr);
  void* tag;
  bool ok;
  ASSERT_TRUE(queue.Next(&tag, &ok));
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(Text(response), "\x08\x02");
}

// Of a gzip client, whose messages are compressed.
std::unique_ptr<grpc::ClientContext> GzipContext() {
  auto context = std::make_unique<grpc::ClientContext>();
  context->set_compression_algorithm(GRPC_COMPRESS_GZIP);
  context->set_deadline(absl::ToChronoTime(Soon()));
  return context;
}

TEST(RpcTest, HealthIsAskedWithGzip) {
  TestServer server;
  ASSERT_THAT(server.Start(), IsOk());
  const auto stub = grpc::health::v1::Health::NewStub(
      grpc::CreateChannel(server.address(), grpc::InsecureChannelCredentials()));
  const auto check = [&](const std::string& service) {
    grpc::health::v1::HealthCheckRequest request;
    request.set_service(service);
    grpc::health::v1::HealthCheckResponse response;
    const grpc::Status status = stub->Check(GzipContext().get(), request, &response);
    EXPECT_EQ(status.ok(), response.status() == grpc::health::v1::HealthCheckResponse::SERVING);
    return FromGrpc(status);
  };
  EXPECT_THAT(check("weir.v1.IngestService"), IsOk());
  EXPECT_THAT(check(""), IsOk());
  EXPECT_THAT(check(std::string(1000, 'x')), StatusIs(absl::StatusCode::kNotFound));
  const absl::Status bomb = check(std::string(64 << 20, 'x'));
  EXPECT_THAT(bomb, StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_EQ(ReasonOf(bomb), v1::MESSAGE_TOO_LARGE);
}

TEST(RpcTest, AWatchIsToldTheStatusAtOnceAfterEveryChangeAndAtTheEnd) {
  using grpc::health::v1::HealthCheckResponse;
  TestServer server;
  ASSERT_THAT(server.Start(), IsOk());
  const auto stub = grpc::health::v1::Health::NewStub(
      grpc::CreateChannel(server.address(), grpc::InsecureChannelCredentials()));
  struct Call {
    std::unique_ptr<grpc::ClientContext> context = GzipContext();
    std::unique_ptr<grpc::ClientReader<HealthCheckResponse>> reader;
    HealthCheckResponse::ServingStatus Read() {
      HealthCheckResponse response;
      EXPECT_TRUE(reader->Read(&response));
      return response.status();
    }
  };
  const auto watch = [&](const std::string& service) {
    Call call;
    grpc::health::v1::HealthCheckRequest request;
    request.set_service(service);
    call.reader = stub->Watch(call.context.get(), request);
    return call;
  };
  Call known = watch("weir.v1.IngestService");
  Call whole = watch("");
  Call unknown = watch(std::string(1000, 'x'));
  EXPECT_EQ(unknown.Read(), HealthCheckResponse::SERVICE_UNKNOWN);
  EXPECT_EQ(known.Read(), HealthCheckResponse::SERVING);
  EXPECT_EQ(whole.Read(), HealthCheckResponse::SERVING);
  server.set_healthy(false);
  EXPECT_EQ(known.Read(), HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(whole.Read(), HealthCheckResponse::NOT_SERVING);
  server.set_healthy(true);
  EXPECT_EQ(known.Read(), HealthCheckResponse::SERVING);
  known.context->TryCancel();
  HealthCheckResponse none;
  EXPECT_FALSE(known.reader->Read(&none));
  EXPECT_EQ(known.reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_EQ(whole.Read(), HealthCheckResponse::SERVING);
  const absl::Time start = Clock::System().Now();
  server.server().Shutdown(start + absl::Minutes(5));
  EXPECT_LT(Clock::System().Now(), start + absl::Minutes(1));
  EXPECT_EQ(whole.Read(), HealthCheckResponse::NOT_SERVING);
  for (Call* call : {&whole, &unknown}) {
    EXPECT_FALSE(call->reader->Read(&none));
    EXPECT_EQ(ReasonOf(FromGrpc(call->reader->Finish())), v1::SHUTTING_DOWN);
  }
}

template <typename Version, typename Request, typename Response>
void AskWithGzip() {
  TestServer server;
  ASSERT_THAT(server.Start(), IsOk());
  const auto stub =
      Version::NewStub(grpc::CreateChannel(server.address(), grpc::InsecureChannelCredentials()));
  const auto context = GzipContext();
  const auto stream = stub->ServerReflectionInfo(context.get());
  Request request;
  request.set_file_containing_symbol("weir.v1.IngestService");
  request.set_host(std::string(1000, 'x'));
  Response response;
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(stream->Write(request));
    ASSERT_TRUE(stream->Read(&response));
    EXPECT_GT(response.file_descriptor_response().file_descriptor_proto_size(), 1);
    EXPECT_EQ(response.original_request().host(), request.host());
  }
  const auto large_context = GzipContext();
  const auto large = stub->ServerReflectionInfo(large_context.get());
  request.set_host(std::string(64 << 20, 'x'));
  ASSERT_TRUE(large->Write(request));
  EXPECT_FALSE(large->Read(&response));
  EXPECT_EQ(ReasonOf(FromGrpc(large->Finish())), v1::MESSAGE_TOO_LARGE);
  // A client that leaves its stream open does not hold up the end.
  const absl::Time start = Clock::System().Now();
  server.server().Shutdown(start + absl::Minutes(5));
  EXPECT_LT(Clock::System().Now(), start + absl::Minutes(1));
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_EQ(ReasonOf(FromGrpc(stream->Finish())), v1::SHUTTING_DOWN);
}

TEST(RpcTest, ReflectionIsAskedWithGzip) {
  namespace v1 = grpc::reflection::v1;
  namespace v1alpha = grpc::reflection::v1alpha;
  AskWithGzip<v1::ServerReflection, v1::ServerReflectionRequest, v1::ServerReflectionResponse>();
  AskWithGzip<v1alpha::ServerReflection, v1alpha::ServerReflectionRequest,
              v1alpha::ServerReflectionResponse>();
}

TEST(RpcTest, ATakenPortIsAnErrorThatNamesIt) {
  TestServer first;
  ASSERT_THAT(first.Start(), IsOk());
  TestServer second({}, {}, first.address());
  EXPECT_THAT(second.Start(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                       HasSubstr(first.address() + ": Address already in use")));
}

TEST(RpcTest, AnAddressOthersCanReachNeedsConsent) {
  TestServer server({}, {}, "0.0.0.0:0");
  EXPECT_THAT(server.Start(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("insecure: true")));
  Server allowed({.listen_addresses = {"0.0.0.0:0", "127.0.0.1:0"}, .insecure = true});
  ASSERT_THAT(allowed.Start(), IsOk());
  EXPECT_GT(allowed.port(0), 0);
  EXPECT_NE(allowed.port(0), allowed.port(1));
}

TEST(RpcTest, AddressesAreLoopbackOrNotByTheirText) {
  for (const char* address : {"127.0.0.1:1", "127.9.9.9:1", "localhost:1", "[::1]:1", "unix:/x"}) {
    EXPECT_TRUE(Loopback(address)) << address;
  }
  for (const char* address : {"0.0.0.0:1", "[::]:1", "10.0.0.1:1", "example.com:1", "127.0.0.1",
                              "127.0.0.1.evil.com:1", "::1:80", ":80", ""}) {
    EXPECT_FALSE(Loopback(address)) << address;
  }
  for (const char* address : {"nonsense", "127.0.0.1:port", "127.0.0.1:70000", ":1"}) {
    Server server({.listen_addresses = {address}});
    EXPECT_THAT(server.Start(),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("HOST:PORT")))
        << address;
  }
  Server server({.listen_addresses = {"unix:" + std::string(200, 'x')}});
  EXPECT_THAT(server.Start(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("path")));
}

TEST(EventLoopTest, PostedFunctionsRunInOrderOnOneThread) {
  EventLoop loop(std::make_unique<grpc::CompletionQueue>());
  std::vector<int> order;  // owned by the loop
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(loop.Post([&, i] { order.push_back(i); }));
  loop.Start();
  std::atomic<int64_t> sum = 0;
  std::vector<std::thread> posters;
  for (int t = 0; t < 3; ++t) {
    posters.emplace_back([&] {
      for (int i = 0; i < 30'000; ++i) {
        loop.Post([&] { sum.fetch_add(loop.InLoop() ? 1 : 1'000'000); });
      }
    });
  }
  for (std::thread& poster : posters) poster.join();
  loop.Post([&] { loop.Post([&] { order.push_back(100); }); });
  std::promise<void> last;
  loop.Post([&] { loop.Post([&] { last.set_value(); }); });
  last.get_future().wait();
  loop.Stop();
  EXPECT_EQ(sum, 90'000);
  ASSERT_EQ(order.size(), 101u);
  for (int i = 0; i <= 100; ++i) EXPECT_EQ(order[i], i);
  EXPECT_FALSE(loop.Post([] {}));
  EXPECT_FALSE(loop.PostAt(absl::InfinitePast(), [] {}));
}

TEST(EventLoopTest, TimersRunWhenDueAndAreDroppedAtTheEnd) {
  std::vector<int> order;
  bool late = false;
  {
    EventLoop loop(std::make_unique<grpc::CompletionQueue>());
    loop.Start();
    const absl::Time now = Clock::System().Now();
    std::promise<void> done;
    loop.PostAt(now + absl::Milliseconds(60), [&] {
      order.push_back(2);
      done.set_value();
    });
    loop.PostAt(now + absl::Milliseconds(20), [&] { order.push_back(1); });
    loop.PostAt(absl::InfinitePast(), [&] { order.push_back(0); });
    loop.PostAt(now + absl::Hours(1), [&] { late = true; });
    loop.PostAt(absl::InfiniteFuture(), [&] { late = true; });
    done.get_future().wait();
    EXPECT_GE(Clock::System().Now(), now + absl::Milliseconds(60));
  }
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2}));
  EXPECT_FALSE(late);
}

}  // namespace
}  // namespace weir::rpc
