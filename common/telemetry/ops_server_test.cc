#include "common/telemetry/ops_server.h"

#include <gtest/gtest.h>
#include <httplib.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <string_view>
#include <vector>

#include "common/base/clock.h"
#include "common/base/strings.h"
#include "common/testing/status_matchers.h"

namespace weir::telemetry {
namespace {

using test::IsOk;
using test::StatusIs;
using ::testing::HasSubstr;

std::unique_ptr<OpsServer> StartOps(const Registry& registry, OpsServer::HealthCheck health) {
  auto server = OpsServer::Start({.service = "weir-test"}, registry, std::move(health));
  EXPECT_THAT(server, IsOk());
  return std::move(server).value();
}

TEST(OpsServerTest, ServesMetricsHealthAndAPageThatNamesThem) {
  Registry registry;
  registry.AddCounter("weir_batches_total", "Batches.").Increment(3);
  absl::Status health;
  const auto server = StartOps(registry, [&] { return health; });
  httplib::Client client("127.0.0.1", server->port());
  auto reply = client.Get("/metrics");
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->status, 200);
  EXPECT_EQ(reply->get_header_value("Content-Type"), "text/plain; version=0.0.4; charset=utf-8");
  EXPECT_EQ(reply->body, registry.Render());
  reply = client.Get("/healthz");
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->status, 200);
  EXPECT_EQ(reply->body, "ok\n");
  health = absl::UnavailableError("the store is away");
  reply = client.Get("/healthz");
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->status, 503);
  EXPECT_EQ(reply->body, "the store is away\n");
  reply = client.Get("/");
  ASSERT_TRUE(reply);
  EXPECT_THAT(reply->body, HasSubstr("/metrics\n/healthz\n"));
  reply = client.Get("/etc/passwd");
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->status, 404);
  reply = client.Post("/metrics", std::string(100'000, 'x'), "text/plain");
  EXPECT_TRUE(!reply || reply->status >= 400);
}

TEST(OpsServerTest, ATakenPortIsAnErrorThatNamesIt) {
  Registry registry;
  const auto server = StartOps(registry, [] { return absl::OkStatus(); });
  const std::string address = StrCat("127.0.0.1:", server->port());
  EXPECT_THAT(
      OpsServer::Start({.listen_address = address}, registry, [] { return absl::OkStatus(); }),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr(address)));
  EXPECT_THAT(
      OpsServer::Start({.listen_address = "nonsense"}, registry, [] { return absl::OkStatus(); }),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("HOST:PORT")));
}

TEST(OpsServerTest, SilentAndSlowClientsDoNotDelayTheStop) {
  Registry registry;
  auto server = StartOps(registry, [] { return absl::OkStatus(); });
  std::vector<int> sockets;
  for (int i = 0; i < 8; ++i) {
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in name = {};
    name.sin_family = AF_INET;
    name.sin_port = htons(static_cast<uint16_t>(server->port()));
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ASSERT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&name), sizeof name), 0);
    const std::string_view half = i % 2 == 0 ? "GET /metr" : "";
    ASSERT_EQ(::send(fd, half.data(), half.size(), MSG_NOSIGNAL), std::ssize(half));
    sockets.push_back(fd);
  }
  const absl::Time start = Clock::System().Now();
  server->Stop();
  EXPECT_LT(Clock::System().Now() - start, absl::Seconds(1));
  server->Stop();
  for (const int fd : sockets) ::close(fd);
}

TEST(OpsServerTest, StartAndStopAtOnce) {
  Registry registry;
  for (int i = 0; i < 20; ++i) StartOps(registry, [] { return absl::OkStatus(); });
}

}  // namespace
}  // namespace weir::telemetry
