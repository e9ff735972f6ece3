#include "services/collector/otlp_http.h"

#include <gmock/gmock.h>
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "common/base/strings.h"
#include "common/rpc/error.h"
#include "common/testing/gzip.h"
#include "common/testing/status_matchers.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "opentelemetry/proto/collector/metrics/v1/metrics_service.pb.h"
#include "services/collector/http_client_test.h"

namespace weir::collector {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;
using weir::test::Gzip;
using weir::test::IsOk;
using weir::test::StatusIs;
using ExportResponse = opentelemetry::proto::collector::metrics::v1::ExportMetricsServiceResponse;

constexpr std::string_view kProtobuf = "application/x-protobuf";
constexpr std::string_view kJson = "application/json";

using Client = test::HttpClient;

// What an intake does, and what it has seen.
class FakeIntake {
 public:
  OtlpHttp::Intake For(std::string_view encoding) {
    return [this, encoding](std::string_view bytes, PendingAnswer& answer) {
      MutexLock lock(&mu_);
      taken_.push_back(StrCat(encoding, ": ", bytes));
      changed_.NotifyAll();
      if (!failure_.ok()) return answer.Fail(failure_);
      ExportResponse response;
      if (rejected_count_ > 0) {
        response.mutable_partial_success()->set_rejected_data_points(rejected_count_);
      }
      if (!waits_) return answer.Answer(response);
      waiting_.push_back(answer.AwaitAck(response));
    };
  }
  void FailWith(const absl::Status& failure) {
    MutexLock lock(&mu_);
    failure_ = failure;
  }
  void Reject(int64_t count) {
    MutexLock lock(&mu_);
    rejected_count_ = count;
  }
  void LetWait() {
    MutexLock lock(&mu_);
    waits_ = true;
  }
  std::vector<std::string> AwaitTaken(size_t count) {
    MutexLock lock(&mu_);
    while (taken_.size() < count) changed_.Wait(&mu_);
    return taken_;
  }
  std::vector<Waiter> TakeWaiting() {
    MutexLock lock(&mu_);
    std::vector<Waiter> waiters;
    for (const uint64_t connection : std::exchange(waiting_, {})) {
      waiters.push_back({.connection = connection, .sequence = 1});
    }
    return waiters;
  }

 private:
  Mutex mu_;
  CondVar changed_;
  std::vector<std::string> taken_ ABSL_GUARDED_BY(mu_);
  std::vector<uint64_t> waiting_ ABSL_GUARDED_BY(mu_);
  absl::Status failure_ ABSL_GUARDED_BY(mu_);
  int64_t rejected_count_ ABSL_GUARDED_BY(mu_) = 0;
  bool waits_ ABSL_GUARDED_BY(mu_) = false;
};

class OtlpHttpTest : public ::testing::Test {
 protected:
  void Start(HttpServerOptions options = {}) {
    options.listen_addresses = {"127.0.0.1:0"};
    server_ = std::make_unique<HttpServer>(options, Clock::System());
    server_->AddPost("/v1/metrics", otlp_);
    ASSERT_THAT(server_->Start(), IsOk());
  }
  std::unique_ptr<Client> Connect() {
    return std::make_unique<Client>(server_->address(), "/v1/metrics");
  }
  Client::Response Post(std::string_view body, std::string_view type,
                        std::string_view more_headers = "") {
    const auto client = Connect();
    client->Post(body, type, more_headers);
    return client->Read();
  }

  AckRouter router_;
  FakeIntake intake_;
  OtlpHttp otlp_{router_, intake_.For("protobuf"), intake_.For("json")};
  std::unique_ptr<HttpServer> server_;
};

TEST_F(OtlpHttpTest, BothEncodingsPlainOrGzipReachTheIntakeAsTheyWere) {
  Start();
  const Client::Response protobuf = Post("some bytes", kProtobuf);
  EXPECT_EQ(protobuf.status, 200) << protobuf.head;
  EXPECT_THAT(protobuf.head, HasSubstr("Content-Type: application/x-protobuf\r\n"));
  EXPECT_EQ(protobuf.body, "");  // an empty message: full success
  const Client::Response json = Post("{}", "Application/JSON; charset=utf-8");
  EXPECT_EQ(json.status, 200);
  EXPECT_THAT(json.head, HasSubstr("Content-Type: application/json\r\n"));
  EXPECT_EQ(json.body, "{}");
  EXPECT_EQ(Post(Gzip("packed"), kProtobuf, "Content-Encoding: gzip\r\n").status, 200);
  EXPECT_EQ(Post(Gzip("[1]"), kJson, "Content-Encoding: GZIP\r\n").status, 200);
  EXPECT_EQ(Post("plain", kProtobuf, "Content-Encoding: identity\r\n").status, 200);
  EXPECT_THAT(intake_.AwaitTaken(5),
              ::testing::ElementsAre("protobuf: some bytes", "json: {}", "protobuf: packed",
                                     "json: [1]", "protobuf: plain"));
}

TEST_F(OtlpHttpTest, RejectedPointsAreInTheAnswer) {
  intake_.Reject(3);
  Start();
  ExportResponse response;
  ASSERT_TRUE(response.ParseFromString(Post("x", kProtobuf).body));
  EXPECT_EQ(response.partial_success().rejected_data_points(), 3);
  EXPECT_EQ(Post("{}", kJson).body, R"({"partialSuccess":{"rejectedDataPoints":"3"}})");
}

TEST_F(OtlpHttpTest, AnAnswerWaitsForItsAckAndNoWorkerDoes) {
  intake_.LetWait();
  Start({.worker_count = 1});
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 50; ++i) {
    clients.push_back(Connect());
    clients.back()->Post("x", kProtobuf);
  }
  intake_.AwaitTaken(50);
  router_.Dispatch(intake_.TakeWaiting());
  for (const auto& client : clients) EXPECT_EQ(client->Read().status, 200);
}

TEST_F(OtlpHttpTest, AConnectionCarriesOneRequestAfterTheOther) {
  Start();
  const auto client = Connect();
  client->Post("first", kProtobuf);
  EXPECT_EQ(client->Read().status, 200);
  client->Post("second", kProtobuf);
  client->Post("third, sent before the second's answer", kProtobuf);
  EXPECT_EQ(client->Read().status, 200);
  EXPECT_EQ(client->Read().status, 200);
  client->Post("last", kProtobuf, "Connection: close\r\n");
  EXPECT_THAT(client->Read().head, HasSubstr("Connection: close\r\n"));
  EXPECT_TRUE(client->Ended());
  EXPECT_EQ(intake_.AwaitTaken(4).size(), 4u);
}

TEST_F(OtlpHttpTest, AClientThatAsksIsToldToGoOn) {
  Start();
  const auto client = Connect();
  client->Send(
      "POST /v1/metrics HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
      "Expect: 100-continue\r\n\r\n");
  EXPECT_EQ(client->Read().status, 100);
  client->Send("{}");
  EXPECT_EQ(client->Read().status, 200);
}

TEST_F(OtlpHttpTest, AnErrorIsAStatusInTheRequestsEncodingWithItsReason) {
  intake_.FailWith(rpc::Error(absl::StatusCode::kInvalidArgument, v1::UNDECODABLE, "not that"));
  Start();
  const Client::Response protobuf = Post("x", kProtobuf);
  EXPECT_EQ(protobuf.status, 400);
  EXPECT_THAT(protobuf.head, ::testing::Not(HasSubstr("Retry-After")));
  google::rpc::Status status;
  ASSERT_TRUE(status.ParseFromString(protobuf.body));
  EXPECT_EQ(status.code(), 3);
  EXPECT_EQ(status.message(), "not that");
  google::rpc::ErrorInfo info;
  ASSERT_EQ(status.details_size(), 1);
  ASSERT_TRUE(status.details(0).UnpackTo(&info));
  EXPECT_EQ(info.reason(), "UNDECODABLE");
  EXPECT_EQ(info.domain(), "weir.dev");
  const Client::Response json = Post("{}", kJson);
  EXPECT_EQ(json.status, 400);
  EXPECT_THAT(json.body, StartsWith(R"({"code":3,"message":"not that")"));
  EXPECT_THAT(json.body, HasSubstr(R"("reason":"UNDECODABLE")"));
}

TEST_F(OtlpHttpTest, WhatMayBeTriedAgainSaysWhen) {
  Start();
  const auto after = [&](const absl::Status& failure) {
    intake_.FailWith(failure);
    const Client::Response response = Post("x", kProtobuf);
    const size_t at = response.head.find("Retry-After: ");
    return StrCat(response.status, " ",
                  at == std::string::npos ? "" : response.head.substr(at + 13, 1));
  };
  const absl::Status overloaded =
      rpc::Error(absl::StatusCode::kUnavailable, v1::OVERLOADED, "full");
  EXPECT_EQ(after(rpc::WithRetryDelay(overloaded, absl::Milliseconds(200))), "503 1");
  EXPECT_EQ(after(rpc::WithRetryDelay(overloaded, absl::Milliseconds(2500))), "503 3");
  EXPECT_EQ(after(rpc::Error(absl::StatusCode::kResourceExhausted, v1::TOO_MANY_SESSIONS, "x")),
            "429 ");
  EXPECT_EQ(after(rpc::Error(absl::StatusCode::kResourceExhausted, v1::MESSAGE_TOO_LARGE, "x")),
            "413 ");
  EXPECT_EQ(after(absl::InternalError("x")), "500 ");
}

TEST_F(OtlpHttpTest, OtherPathsMethodsAndTypesAreRefusedBeforeTheirBodyIsRead) {
  Start();
  const auto answer = [&](std::string_view head) {
    const auto client = Connect();
    client->Send(StrCat(head, "Content-Length: 60000000\r\n\r\n"));
    return client->Read();
  };
  EXPECT_EQ(answer("POST /v1/traces HTTP/1.1\r\n").status, 404);
  const Client::Response get = answer("GET /v1/metrics HTTP/1.1\r\n");
  EXPECT_EQ(get.status, 405);
  EXPECT_THAT(get.head, HasSubstr("Allow: POST\r\n"));
  EXPECT_EQ(answer("POST /v1/metrics HTTP/1.1\r\n").status, 415);
  EXPECT_EQ(answer("POST /v1/metrics HTTP/1.1\r\nContent-Type: text/plain\r\n").status, 415);
  const Client::Response encoding = answer(
      "POST /v1/metrics HTTP/1.1\r\nContent-Type: application/json\r\n"
      "Content-Encoding: br\r\n");
  EXPECT_EQ(encoding.status, 415);
  EXPECT_THAT(encoding.body, HasSubstr(R"("field":"content-encoding")"));
  EXPECT_EQ(answer("nonsense\r\n").status, 400);
  EXPECT_THAT(intake_.AwaitTaken(0), IsEmpty());
}

TEST_F(OtlpHttpTest, ABodyPastTheLimitIsRefusedWhileItIsRead) {
  Start({.limits = {.max_body_bytes = 1000}});
  EXPECT_EQ(Post(std::string(1000, 'x'), kProtobuf).status, 200);
  const Client::Response refused = Post(std::string(1001, 'x'), kJson);
  EXPECT_EQ(refused.status, 413);
  EXPECT_THAT(refused.body, HasSubstr("MESSAGE_TOO_LARGE"));
  const auto chunked = Connect();
  chunked->Send(
      "POST /v1/metrics HTTP/1.1\r\nContent-Type: application/x-protobuf\r\n"
      "Transfer-Encoding: chunked\r\n\r\n");
  for (int i = 0; i < 20; ++i) chunked->Send(StrCat("64\r\n", std::string(100, 'x'), "\r\n"));
  EXPECT_EQ(chunked->Read().status, 413);
}

TEST_F(OtlpHttpTest, BombsAreRefusedAndTheNextRequestIsTaken) {
  Start();
  const std::string zeros(int64_t{65} << 20, '\0');
  EXPECT_EQ(Post(Gzip(zeros), kProtobuf, "Content-Encoding: gzip\r\n").status, 413);
  EXPECT_EQ(Post(Gzip("x").substr(0, 10), kProtobuf, "Content-Encoding: gzip\r\n").status, 400);
  EXPECT_EQ(Post("not gzip", kProtobuf, "Content-Encoding: gzip\r\n").status, 400);
  EXPECT_EQ(Post(std::string(10'000, '['), kJson).status, 400);
  // A text of little things, which would take fifty times its length.
  std::string points;
  for (int i = 0; i < 1'000'000; ++i) points += "{},";
  EXPECT_EQ(Post(StrCat("[", points, "{}]"), kJson).status, 413);
  EXPECT_EQ(Post("{}", kJson).status, 200);
}

TEST_F(OtlpHttpTest, WhatAllRequestsHoldIsBoundedAndGivenBack) {
  Start({.max_held_bytes = 200'000});
  const std::string head =
      "POST /v1/metrics HTTP/1.1\r\nContent-Type: application/x-protobuf\r\n"
      "Content-Length: 120000\r\n\r\n";
  const auto slow = Connect();
  slow->Send(head + std::string(119'999, 'x'));
  // What it holds is known once the server has read it.
  Client::Response refused;
  do {
    refused = Post(std::string(120'000, 'y'), kProtobuf);
  } while (refused.status == 200);
  EXPECT_EQ(refused.status, 503);
  EXPECT_THAT(refused.head, HasSubstr("Retry-After: 1\r\n"));
  slow->Send("x");
  EXPECT_EQ(slow->Read().status, 200);
  // A handler gives it back just after it has answered.
  for (int taken = 0; taken < 5;) {
    if (Post(std::string(120'000, 'y'), kProtobuf).status == 200) ++taken;
  }
}

TEST_F(OtlpHttpTest, LargeRequestsLeaveRoomForOrdinaryOnes) {
  Start({.max_held_bytes = 16 << 20});
  const std::string head = "POST /v1/metrics HTTP/1.1\r\nContent-Type: application/x-protobuf\r\n";
  std::vector<std::unique_ptr<Client>> large;
  // Each holds up to 4 MiB and is not complete; the fourth need not fit.
  int refused = 0;
  for (int i = 0; i < 4; ++i) {
    large.push_back(Connect());
    large.back()->Send(StrCat(head, "Content-Length: 4000001\r\n\r\n"));
    large.back()->Send(std::string(4'000'000, 'x'));
  }
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(Post(std::string(500'000, 'y'), kProtobuf).status, 200);
  }
  for (const auto& client : large) {
    client->Send("x");
    const int status = client->Read().status;
    if (status == 503) {
      ++refused;
    } else {
      EXPECT_EQ(status, 200);
    }
  }
  EXPECT_LE(refused, 1);
}

TEST_F(OtlpHttpTest, ASlowClientIsAnsweredAndCutOff) {
  Start({.head_timeout = absl::Milliseconds(150),
         .body_timeout = absl::Milliseconds(150),
         .idle_timeout = absl::Milliseconds(150)});
  const auto silent = Connect();
  EXPECT_TRUE(silent->Ended());
  const auto no_head = Connect();
  no_head->Send("POST /v1/met");
  EXPECT_EQ(no_head->Read().status, 408);
  EXPECT_TRUE(no_head->Ended());
  const auto no_body = Connect();
  no_body->Send(
      "POST /v1/metrics HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n");
  EXPECT_EQ(no_body->Read().status, 408);
  const auto idle = Connect();
  idle->Post("x", kProtobuf);
  EXPECT_EQ(idle->Read().status, 200);
  EXPECT_TRUE(idle->Ended());
}

TEST_F(OtlpHttpTest, WhatIsNotDurableInTimeIsToBeSentAgain) {
  intake_.LetWait();
  Start({.answer_timeout = absl::Milliseconds(150)});
  const auto client = Connect();
  client->Post("x", kProtobuf);
  const Client::Response response = client->Read();
  EXPECT_EQ(response.status, 503);
  EXPECT_THAT(response.head, HasSubstr("Retry-After: 1\r\n"));
  client->Post("x", kProtobuf);
  intake_.AwaitTaken(2);
  // The first one's ack is nobody's answer now.
  router_.Dispatch(intake_.TakeWaiting());
  EXPECT_EQ(client->Read().status, 200);
}

TEST_F(OtlpHttpTest, TheConnectionIdleForLongestMakesRoom) {
  Start({.max_connection_count = 3});
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 20; ++i) {
    clients.push_back(Connect());
    clients.back()->Post("x", kProtobuf);
    EXPECT_EQ(clients.back()->Read().status, 200);
  }
  EXPECT_TRUE(clients.front()->Ended());
}

TEST_F(OtlpHttpTest, ConnectionsBeyondTheLimitWaitForTheirTurn) {
  intake_.LetWait();
  Start({.max_connection_count = 2});
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 6; ++i) {
    clients.push_back(Connect());
    clients.back()->Post("x", kProtobuf, "Connection: close\r\n");
  }
  for (size_t taken = 2; taken <= 6; taken += 2) {
    intake_.AwaitTaken(taken);
    router_.Dispatch(intake_.TakeWaiting());
  }
  for (const auto& client : clients) EXPECT_EQ(client->Read().status, 200);
}

TEST_F(OtlpHttpTest, AClientThatIsGoneHarmsNobody) {
  intake_.LetWait();
  Start();
  Connect()->Post("x", kProtobuf);  // and closes
  intake_.AwaitTaken(1);
  const auto other = Connect();
  other->Post("y", kProtobuf);
  intake_.AwaitTaken(2);
  router_.Dispatch(intake_.TakeWaiting());
  EXPECT_EQ(other->Read().status, 200);
}

TEST_F(OtlpHttpTest, AStopAnswersWhatWaits) {
  intake_.LetWait();
  Start();
  const auto idle = Connect();
  const auto client = Connect();
  client->Post("x", kProtobuf);
  intake_.AwaitTaken(1);
  std::thread acks([&] { router_.Dispatch(intake_.TakeWaiting()); });
  server_->Shutdown(Clock::System().Now() + absl::Seconds(20));
  acks.join();
  EXPECT_EQ(client->Read().status, 200);
  EXPECT_TRUE(client->Ended());
  EXPECT_TRUE(idle->Ended());
}

TEST_F(OtlpHttpTest, AnAckAfterTheServersEndIsHarmless) {
  intake_.LetWait();
  Start();
  const auto client = Connect();
  client->Post("x", kProtobuf);
  intake_.AwaitTaken(1);
  server_.reset();
  router_.Dispatch(intake_.TakeWaiting());
  EXPECT_EQ(client->Read().status, 0);
}

TEST(HttpServerTest, OnlyLoopbackUnlessInsecure) {
  HttpServer open({.listen_addresses = {"0.0.0.0:0"}}, Clock::System());
  EXPECT_THAT(open.Start(), StatusIs(absl::StatusCode::kInvalidArgument));
  HttpServer insecure({.listen_addresses = {"0.0.0.0:0"}, .insecure = true}, Clock::System());
  EXPECT_THAT(insecure.Start(), IsOk());
  HttpServer first({.listen_addresses = {"localhost:0"}}, Clock::System());
  ASSERT_THAT(first.Start(), IsOk());
  EXPECT_THAT(first.address(), StartsWith("localhost:"));
  HttpServer second({.listen_addresses = {first.address()}}, Clock::System());
  const absl::Status taken = second.Start();
  EXPECT_THAT(taken, StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(std::string(taken.message()), HasSubstr("Address already in use"));
}

TEST(JsonWeightTest, TextInQuotesWeighsWhatItIsLong) {
  const std::string quoted = R"({"a": "[[[{{{,,,\"[[["})";
  ASSERT_THAT(JsonWeight(quoted), IsOk());
  EXPECT_LT(*JsonWeight(quoted), 300);
  EXPECT_GT(*JsonWeight("[{},{},{}]"), 800);
}

TEST(JsonWeightTest, DepthIsBounded) {
  const auto nested = [](int depth) {
    return std::string(static_cast<size_t>(depth), '[') +
           std::string(static_cast<size_t>(depth), ']');
  };
  EXPECT_THAT(JsonWeight(nested(100)), IsOk());
  EXPECT_THAT(JsonWeight(nested(101)), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(JsonWeight(nested(50) + nested(100)), IsOk());
  EXPECT_THAT(JsonWeight("}}}}]]]]\\\"\\"), IsOk());
}

}  // namespace
}  // namespace weir::collector
