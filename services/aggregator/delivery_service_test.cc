#include "services/aggregator/delivery_service.h"

#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>

#include "common/rpc/error.h"
#include "common/testing/memory_store.h"
#include "common/testing/status_matchers.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace weir::aggregator {
namespace {

using test::IsOk;
using test::MemoryStore;

constexpr int kSlots = 4;

class DeliveryServiceTest : public ::testing::Test {
 protected:
  using Stream = grpc::ClientReaderWriter<peer::v1::DeliverRequest, peer::v1::DeliverResponse>;
  struct Call {
    grpc::ClientContext context;
    std::unique_ptr<Stream> stream;
  };

  void SetUp() override {
    WEIR_ASSERT_OK_AND_ASSIGN(store_, MemoryStore::Create({.slot_count = kSlots,
                                                           .tiers = TierTable::Default(),
                                                           .created_time = Clock::System().Now()}));
    service_ =
        std::make_unique<DeliveryService>(CoreOptions{.owner = "test", .slot_count = kSlots},
                                          "default", *store_, Clock::System(), events_, [] {});
    service_->Register(server_);
    ASSERT_THAT(server_.Start(), IsOk());
    service_->Start();
    stub_ = peer::v1::DeliveryService::NewStub(
        grpc::CreateChannel(server_.address(), grpc::InsecureChannelCredentials()));
  }
  void TearDown() override {
    server_.Shutdown(Clock::System().Now());
    service_->Stop();
  }

  std::unique_ptr<Call> Open() {
    auto call = std::make_unique<Call>();
    call->context.set_deadline(absl::ToChronoTime(Clock::System().Now() + absl::Seconds(10)));
    call->stream = stub_->Deliver(&call->context);
    return call;
  }

  static peer::v1::DeliverRequest Hello(int slot_count) {
    peer::v1::DeliverRequest request;
    request.mutable_hello()->set_wal_id(std::string(16, 'w'));
    request.mutable_hello()->set_slot_count(slot_count);
    return request;
  }
  static peer::v1::DeliverRequest FrameOf(int slot, const std::string& subframe) {
    peer::v1::DeliverRequest request;
    request.mutable_frame()->set_lsn(1);
    auto* range = request.mutable_frame()->add_ranges();
    range->set_slot(slot);
    range->set_subframe(subframe);
    return request;
  }

  // Greets, and waits for the answer.
  std::unique_ptr<Call> Greeted() {
    std::unique_ptr<Call> call = Open();
    EXPECT_TRUE(call->stream->Write(Hello(kSlots)));
    peer::v1::DeliverResponse response;
    EXPECT_TRUE(call->stream->Read(&response));
    EXPECT_TRUE(response.has_resume());
    return call;
  }

  // Reads on until the stream ends, and returns how.
  static grpc::Status End(Call& call) {
    peer::v1::DeliverResponse response;
    while (call.stream->Read(&response)) {
    }
    return call.stream->Finish();
  }

  struct Reason {
    std::string name;
    std::map<std::string, std::string> metadata;
  };
  static Reason ReasonOf(const grpc::Status& status) {
    google::rpc::Status details;
    EXPECT_TRUE(details.ParseFromString(status.error_details()));
    Reason reason;
    for (const auto& any : details.details()) {
      google::rpc::ErrorInfo info;
      if (!any.UnpackTo(&info)) continue;
      EXPECT_EQ(info.domain(), rpc::kErrorDomain);
      reason.name = info.reason();
      reason.metadata.insert(info.metadata().begin(), info.metadata().end());
    }
    return reason;
  }

  telemetry::Registry registry_;
  Events events_{registry_, Clock::System()};
  std::unique_ptr<MemoryStore> store_;
  std::unique_ptr<DeliveryService> service_;
  rpc::Server server_{{.listen_addresses = {"127.0.0.1:0"}}};
  std::unique_ptr<peer::v1::DeliveryService::Stub> stub_;
};

TEST_F(DeliveryServiceTest, AnotherNumberOfSlotsIsNamedOnBothSides) {
  const auto call = Open();
  ASSERT_TRUE(call->stream->Write(Hello(16)));
  const grpc::Status status = End(*call);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION) << status.error_message();
  const Reason reason = ReasonOf(status);
  EXPECT_EQ(reason.name, "SLOT_COUNT_MISMATCH");
  EXPECT_EQ(reason.metadata, (std::map<std::string, std::string>{{"ours", "4"}, {"theirs", "16"}}));
}

TEST_F(DeliveryServiceTest, ASecondGreetingIsOutOfOrder) {
  const auto call = Greeted();
  ASSERT_TRUE(call->stream->Write(Hello(kSlots)));
  const grpc::Status status = End(*call);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << status.error_message();
  EXPECT_EQ(ReasonOf(status).name, "STREAM_PROTOCOL");
}

TEST_F(DeliveryServiceTest, WhatCannotBeDecodedSaysSo) {
  std::vector<peer::v1::DeliverRequest> damaged = {FrameOf(0, "no subframe"), FrameOf(kSlots, ""),
                                                   peer::v1::DeliverRequest(), FrameOf(0, "")};
  damaged.back().mutable_frame()->set_lsn(0);
  for (const peer::v1::DeliverRequest& request : damaged) {
    const auto call = Greeted();
    ASSERT_TRUE(call->stream->Write(request));
    const grpc::Status status = End(*call);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT)
        << request.ShortDebugString() << ": " << status.error_message();
    EXPECT_EQ(ReasonOf(status).name, "UNDECODABLE") << request.ShortDebugString();
  }
}

TEST_F(DeliveryServiceTest, AStreamThatANewerOneReplacesIsCancelled) {
  const auto older = Greeted();
  const auto newer = Greeted();
  const grpc::Status status = End(*older);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::CANCELLED) << status.error_message();
  EXPECT_NE(status.error_message().find("newer"), std::string::npos);
  EXPECT_EQ(ReasonOf(status).name, "") << "it is no error";
  newer->context.TryCancel();
  End(*newer);
}

}  // namespace
}  // namespace weir::aggregator
