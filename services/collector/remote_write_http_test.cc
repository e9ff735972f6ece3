#include "services/collector/remote_write_http.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "common/base/strings.h"
#include "common/rpc/error.h"
#include "common/testing/status_matchers.h"
#include "services/collector/http_client_test.h"

namespace weir::collector {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using weir::test::IsOk;
using Client = test::HttpClient;

constexpr std::string_view kProtobuf = "application/x-protobuf";
constexpr std::string_view kVersion2 =
    "application/x-protobuf;proto=io.prometheus.write.v2.Request";
constexpr std::string_view kSnappy = "Content-Encoding: snappy\r\n";

// A block of snappy that is one literal, of less than 61 bytes.
std::string Block(std::string_view text) {
  std::string block(1, static_cast<char>(text.size()));
  if (!text.empty()) block.push_back(static_cast<char>((text.size() - 1) << 2));
  return block.append(text);
}

class RemoteWriteHttpTest : public ::testing::Test {
 protected:
  RemoteWriteHttpTest() {
    server_.AddPost("/api/v1/write", http_);
    EXPECT_THAT(server_.Start(), IsOk());
  }

  Client::Response Post(std::string_view body, std::string_view type = kProtobuf,
                        std::string_view more_headers = kSnappy) {
    Client client(server_.address(), "/api/v1/write");
    client.Post(body, type, more_headers);
    return client.Read();
  }
  static std::string Written(int samples, int histograms) {
    return StrCat("X-Prometheus-Remote-Write-Samples-Written: ", samples,
                  "\r\nX-Prometheus-Remote-Write-Histograms-Written: ", histograms,
                  "\r\nX-Prometheus-Remote-Write-Exemplars-Written: 0\r\n");
  }
  void Take(RemoteWriteVersion version, std::string_view bytes, PendingWrite& answer) {
    MutexLock lock(&mu_);
    taken_.push_back(StrCat(version == RemoteWriteVersion::k1 ? "1: " : "2: ", bytes));
    if (!failure_.ok()) return answer.Fail(failure_);
    if (!waits_) return answer.Answer(result_);
    waiting_.push_back({.connection = answer.AwaitAck(result_), .sequence = 1});
    changed_.NotifyAll();
  }

  AckRouter router_;
  RemoteWriteHttp http_{router_, [this](RemoteWriteVersion version, std::string_view bytes,
                                        PendingWrite& answer) { Take(version, bytes, answer); }};
  HttpServer server_{{.listen_addresses = {"127.0.0.1:0"}}, Clock::System()};

  Mutex mu_;
  CondVar changed_;
  std::vector<std::string> taken_;
  std::vector<Waiter> waiting_;
  absl::Status failure_;
  WriteResult result_;
  bool waits_ = false;
};

TEST_F(RemoteWriteHttpTest, BothVersionsReachTheIntakeAsTheyWere) {
  result_ = {.samples = 3, .histograms = 2};
  const Client::Response response = Post(Block("one"));
  EXPECT_EQ(response.status, 204);
  EXPECT_EQ(response.body, "");
  EXPECT_THAT(response.head, HasSubstr(Written(3, 2)));
  EXPECT_THAT(response.head, Not(HasSubstr("Content-Length")));
  EXPECT_EQ(Post(Block("two"), kVersion2).status, 204);
  EXPECT_EQ(Post(Block(""), "Application/X-Protobuf; charset=x ; Proto=\"prometheus.WriteRequest\"",
                 "Content-Encoding: Snappy\r\n")
                .status,
            204);
  EXPECT_THAT(taken_, ElementsAre("1: one", "2: two", "1: "));
}

TEST_F(RemoteWriteHttpTest, OtherTypesAndEncodingsAreRefusedUnread) {
  for (const std::string_view type :
       {"application/json", "", "application/x-protobuf;proto=io.prometheus.write.v3.Request"}) {
    const Client::Response response = Post("x", type);
    EXPECT_EQ(response.status, 415) << type;
    EXPECT_THAT(response.head, HasSubstr("Content-Type: text/plain"));
    EXPECT_THAT(response.head, HasSubstr(Written(0, 0)));
    EXPECT_THAT(response.body, HasSubstr("INVALID_FIELD: content-type"));
  }
  for (const std::string_view encoding : {"", "Content-Encoding: gzip\r\n"}) {
    EXPECT_EQ(Post("x", kProtobuf, encoding).status, 415) << encoding;
  }
  EXPECT_THAT(taken_, ElementsAre());
}

TEST_F(RemoteWriteHttpTest, ABombIsRefusedByWhatItSays) {
  // 64 MiB and one byte.
  const Client::Response large = Post("\x81\x80\x80\x20 and a few bytes");
  EXPECT_EQ(large.status, 413);
  EXPECT_THAT(large.body, HasSubstr("MESSAGE_TOO_LARGE: "));
  const Client::Response absurd = Post("\x80\x80\x80\x10 and a few bytes");
  EXPECT_EQ(absurd.status, 400);
  EXPECT_THAT(absurd.body, HasSubstr("UNDECODABLE: "));
  EXPECT_EQ(Post(Block("cut short").substr(0, 5)).status, 400);
  EXPECT_EQ(Post("").status, 400);
  EXPECT_THAT(taken_, ElementsAre());
}

TEST_F(RemoteWriteHttpTest, RejectedSamplesAreNamedInOneLineAndTheOthersCounted) {
  result_ = {.samples = 5};
  result_.rejections.Add(Reject::kLabelInvalid, "label 'a' is bad", 2);
  result_.rejections.Add(Reject::kValueNotFinite, "value inf");
  const Client::Response response = Post(Block("x"));
  EXPECT_EQ(response.status, 400);
  EXPECT_THAT(response.head, HasSubstr(Written(5, 0)));
  EXPECT_EQ(response.body,
            "5 samples are written and 3 rejected, which must not be sent again: 2 x "
            "LABEL_INVALID: label 'a' is bad; 1 x VALUE_NOT_FINITE: value inf\n");
}

TEST_F(RemoteWriteHttpTest, ARefusalSaysWhenToTryAgain) {
  failure_ = rpc::WithRetryDelay(
      rpc::Error(absl::StatusCode::kUnavailable, v1::OVERLOADED, "later"), absl::Milliseconds(200));
  const Client::Response response = Post(Block("x"));
  EXPECT_EQ(response.status, 503);
  EXPECT_THAT(response.head, HasSubstr("Retry-After: 1\r\n"));
  EXPECT_THAT(response.head, HasSubstr(Written(0, 0)));
  EXPECT_EQ(response.body, "OVERLOADED: later\n");
}

TEST_F(RemoteWriteHttpTest, AnAnswerWaitsForItsAck) {
  waits_ = true;
  result_.samples = 1;
  Client client(server_.address(), "/api/v1/write");
  client.Post(Block("x"), kProtobuf, kSnappy);
  std::vector<Waiter> waiting;
  {
    MutexLock lock(&mu_);
    while (waiting_.empty()) changed_.Wait(&mu_);
    waiting = waiting_;
  }
  router_.Dispatch(waiting);
  EXPECT_EQ(client.Read().status, 204);
}

}  // namespace
}  // namespace weir::collector
