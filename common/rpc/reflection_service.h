// Server reflection, versions 1 and 1alpha, so that grpcurl needs no protos.
//
// gRPC has one of its own, which cannot be asked with gzip where decompression is
// switched off (see rpc::Parse). This one answers as that one does, about the
// services added, the details of our errors, and whatever their files import:
// those files are copied into a pool of its own, because a question about an
// unknown name stays in the memory of the pool of all that is linked.
//
// Thread safety: thread-safe, apart from Add and Register.
#pragma once

#include <grpcpp/server_builder.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>
#include <grpcpp/support/status.h>

#include <google/protobuf/descriptor.h>

#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "common/base/mutex.h"
#include "grpc/reflection/v1/reflection.grpc.pb.h"
#include "grpc/reflection/v1alpha/reflection.grpc.pb.h"

namespace weir::rpc {

class ReflectionService {
 public:
  // Knows of itself.
  ReflectionService();
  ~ReflectionService();
  ReflectionService(const ReflectionService&) = delete;
  ReflectionService& operator=(const ReflectionService&) = delete;

  // Serves both versions. This outlives the server.
  void Register(grpc::ServerBuilder* builder);

  // Describes the service `name`. REQUIRES: the server has not started, and the
  // service is one that protoc generated.
  void Add(const std::string& name);

  // Ends every stream with `status`, and those to come, after what it is writing.
  void End(const grpc::Status& status);

  // The answer to one question; what is not known is an error_response.
  grpc::reflection::v1::ServerReflectionResponse Answer(
      const grpc::reflection::v1::ServerReflectionRequest& request) const;

 private:
  struct Stream;

  // The versions differ by their names alone, so the bytes are the same.
  template <typename Version>
  class Methods final : public Version::template WithRawCallbackMethod_ServerReflectionInfo<
                            typename Version::Service> {
   public:
    explicit Methods(ReflectionService& service) : service_(service) {}
    grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* ServerReflectionInfo(
        grpc::CallbackServerContext*) override {
      return service_.Open();
    }

   private:
    ReflectionService& service_;
  };

  // Copies `file`, and what it imports first, into the pool, once.
  void AddFile(const google::protobuf::FileDescriptor* file);

  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Open();
  void Asked(Stream& stream, bool ok);
  void Answered(Stream& stream, bool ok);
  void Finish(Stream& stream, const grpc::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Forget(Stream* stream);

  // Constant after the server has started.
  google::protobuf::DescriptorPool pool_;
  std::vector<std::string> names_;
  Methods<grpc::reflection::v1::ServerReflection> v1_{*this};
  Methods<grpc::reflection::v1alpha::ServerReflection> v1alpha_{*this};

  // gRPC's operations are started under the lock, so that none follows a Finish;
  // they call nothing of ours before they return.
  Mutex mu_;
  std::optional<grpc::Status> end_ ABSL_GUARDED_BY(mu_);
  std::unordered_set<Stream*> streams_ ABSL_GUARDED_BY(mu_);
};

}  // namespace weir::rpc
