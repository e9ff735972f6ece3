// How long one unary Push takes, one call at a time on one connection.
//
//   weir-bench-push --target=127.0.0.1:4317 [--calls=2000] [--samples=1]
#include <grpcpp/grpcpp.h>

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "bench/measure.h"
#include "weir/v1/ingest_service.grpc.pb.h"

int main(int argc, char** argv) {
  using namespace weir;
  const std::string target = bench::Flag(argc, argv, "target", "127.0.0.1:4317");
  const int64_t calls = bench::IntFlag(argc, argv, "calls", 2000);
  const int64_t samples = bench::IntFlag(argc, argv, "samples", 1);
  const auto stub =
      v1::IngestService::NewStub(grpc::CreateChannel(target, grpc::InsecureChannelCredentials()));
  v1::PushRequest request;
  for (int64_t i = 0; i < samples; ++i) {
    v1::Sample& sample = *request.add_samples();
    sample.set_name("load.request.duration");
    sample.set_kind(v1::KIND_DISTRIBUTION);
    (*sample.mutable_labels())["model"] = "swift-small";
    (*sample.mutable_labels())["replica"] = "replica-" + std::to_string(i);
    sample.set_value(0.25);
  }
  std::vector<double> micros;
  for (int64_t call = -100; call < calls; ++call) {
    grpc::ClientContext context;
    v1::PushResponse response;
    const absl::Duration start = bench::WallTime();
    const grpc::Status status = stub->Push(&context, request, &response);
    if (!status.ok() || response.accepted_count() != samples) {
      std::fprintf(stderr, "Push: %s, %d accepted\n", status.error_message().c_str(),
                   static_cast<int>(response.accepted_count()));
      return 1;
    }
    // The first ones open the connection and warm everything up.
    if (call >= 0) micros.push_back(absl::ToDoubleMicroseconds(bench::WallTime() - start));
  }
  bench::Print("push_p50", bench::Quantile(micros, 0.5), "us");
  bench::Print("push_p99", bench::Quantile(micros, 0.99), "us");
  return 0;
}
