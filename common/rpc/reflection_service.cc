#include "common/rpc/reflection_service.h"

#include <google/protobuf/descriptor.pb.h>

#include <set>
#include <utility>

#include "absl/status/status.h"
#include "common/base/check.h"
#include "common/rpc/buffer.h"
#include "common/rpc/error.h"
#include "common/rpc/unary.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "weir/v1/error_reason.pb.h"

namespace weir::rpc {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::DescriptorPool;
using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptor;
using grpc::reflection::v1::ExtensionRequest;
using grpc::reflection::v1::FileDescriptorResponse;
using grpc::reflection::v1::ServerReflectionRequest;
using grpc::reflection::v1::ServerReflectionResponse;

void SetError(grpc::StatusCode code, std::string_view message, ServerReflectionResponse* response) {
  response->mutable_error_response()->set_error_code(code);
  response->mutable_error_response()->set_error_message(std::string(message));
}

// Appends `file`, then what it imports, each file once.
void AppendFile(const FileDescriptor* file, std::set<const FileDescriptor*>* appended,
                FileDescriptorResponse* response) {
  if (!appended->insert(file).second) return;
  google::protobuf::FileDescriptorProto proto;
  file->CopyTo(&proto);
  WEIR_CHECK(proto.SerializeToString(response->add_file_descriptor_proto()));
  for (int i = 0; i < file->dependency_count(); ++i) {
    AppendFile(file->dependency(i), appended, response);
  }
}

void SetFile(const FileDescriptor* file, std::string_view error,
             ServerReflectionResponse* response) {
  if (file == nullptr) return SetError(grpc::StatusCode::NOT_FOUND, error, response);
  std::set<const FileDescriptor*> appended;
  AppendFile(file, &appended, response->mutable_file_descriptor_response());
}

void SetExtension(const DescriptorPool& pool, const ExtensionRequest& request,
                  ServerReflectionResponse* response) {
  const Descriptor* const type = pool.FindMessageTypeByName(request.containing_type());
  if (type == nullptr) {
    return SetError(grpc::StatusCode::NOT_FOUND, "Type not found.", response);
  }
  const FieldDescriptor* const field = pool.FindExtensionByNumber(type, request.extension_number());
  SetFile(field == nullptr ? nullptr : field->file(), "Extension not found.", response);
}

void SetExtensionNumbers(const DescriptorPool& pool, const std::string& name,
                         ServerReflectionResponse* response) {
  const Descriptor* const type = pool.FindMessageTypeByName(name);
  if (type == nullptr) {
    return SetError(grpc::StatusCode::NOT_FOUND, "Type not found.", response);
  }
  auto* const numbers = response->mutable_all_extension_numbers_response();
  numbers->set_base_type_name(name);
  std::vector<const FieldDescriptor*> extensions;
  pool.FindAllExtensions(type, &extensions);
  for (const FieldDescriptor* extension : extensions) {
    numbers->add_extension_number(extension->number());
  }
}

}  // namespace

// One conversation, a question and an answer at a time; deletes itself when gRPC
// is done with it. The service's lock guards its flags.
struct ReflectionService::Stream final
    : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
  explicit Stream(ReflectionService& s) : service(s) {}

  void OnReadDone(bool ok) override { service.Asked(*this, ok); }
  void OnWriteDone(bool ok) override { service.Answered(*this, ok); }
  void OnDone() override {
    service.Forget(this);
    delete this;
  }

  ReflectionService& service;
  grpc::ByteBuffer question;  // being read
  grpc::ByteBuffer answer;    // being written
  bool writing = false;
  bool finished = false;
};

ReflectionService::ReflectionService() {
  // What grpcurl needs to print the details of an error, although no method names them.
  AddFile(google::rpc::ErrorInfo::descriptor()->file());
  AddFile(google::rpc::Status::descriptor()->file());
  AddFile(v1::ErrorReason_descriptor()->file());
  Add(std::string(grpc::reflection::v1::ServerReflection::service_full_name()));
  Add(std::string(grpc::reflection::v1alpha::ServerReflection::service_full_name()));
  // protoc's code for services does not refer to these messages.
  google::protobuf::LinkMessageReflection<grpc::reflection::v1alpha::ServerReflectionRequest>();
}

ReflectionService::~ReflectionService() {
  MutexLock lock(&mu_);
  WEIR_CHECK(streams_.empty());
}

void ReflectionService::Register(grpc::ServerBuilder* builder) {
  builder->RegisterService(&v1_);
  builder->RegisterService(&v1alpha_);
}

void ReflectionService::Add(const std::string& name) {
  const auto* const service = DescriptorPool::generated_pool()->FindServiceByName(name);
  WEIR_CHECK(service != nullptr);
  AddFile(service->file());
  names_.push_back(name);
}

void ReflectionService::AddFile(const FileDescriptor* file) {
  if (pool_.FindFileByName(file->name()) != nullptr) return;
  for (int i = 0; i < file->dependency_count(); ++i) AddFile(file->dependency(i));
  google::protobuf::FileDescriptorProto proto;
  file->CopyTo(&proto);
  WEIR_CHECK(pool_.BuildFile(proto) != nullptr);
}

void ReflectionService::End(const grpc::Status& status) {
  MutexLock lock(&mu_);
  if (end_.has_value()) return;
  end_ = status;
  for (Stream* const stream : streams_) {
    if (!stream->writing) Finish(*stream, status);
  }
}

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* ReflectionService::Open() {
  // Nothing of it is run before it is returned.
  auto* const stream = new Stream(*this);
  MutexLock lock(&mu_);
  streams_.insert(stream);
  if (end_.has_value()) {
    Finish(*stream, *end_);
  } else {
    stream->StartRead(&stream->question);
  }
  return stream;
}

void ReflectionService::Asked(Stream& stream, bool ok) {
  grpc::Status status;
  if (ok) {
    ServerReflectionRequest request;
    status = ToGrpc(Parse(stream.question, &request, kMaxRequestBytes));
    if (status.ok()) stream.answer = ToBuffer(Answer(request));
    stream.question.Clear();
  }
  MutexLock lock(&mu_);
  if (!ok || !status.ok()) return Finish(stream, status);
  if (stream.finished) return;
  stream.writing = true;
  stream.StartWrite(&stream.answer);
}

void ReflectionService::Answered(Stream& stream, bool ok) {
  MutexLock lock(&mu_);
  stream.writing = false;
  if (!ok) {
    Finish(stream, grpc::Status::CANCELLED);
  } else if (end_.has_value()) {
    Finish(stream, *end_);
  } else {
    stream.StartRead(&stream.question);
  }
}

void ReflectionService::Finish(Stream& stream, const grpc::Status& status) {
  if (!std::exchange(stream.finished, true)) stream.Finish(status);
}

void ReflectionService::Forget(Stream* stream) {
  MutexLock lock(&mu_);
  streams_.erase(stream);
}

ServerReflectionResponse ReflectionService::Answer(const ServerReflectionRequest& request) const {
  ServerReflectionResponse response;
  response.set_valid_host(request.host());
  *response.mutable_original_request() = request;
  switch (request.message_request_case()) {
    case ServerReflectionRequest::kFileByFilename:
      SetFile(pool_.FindFileByName(request.file_by_filename()), "File not found.", &response);
      break;
    case ServerReflectionRequest::kFileContainingSymbol:
      SetFile(pool_.FindFileContainingSymbol(request.file_containing_symbol()), "Symbol not found.",
              &response);
      break;
    case ServerReflectionRequest::kFileContainingExtension:
      SetExtension(pool_, request.file_containing_extension(), &response);
      break;
    case ServerReflectionRequest::kAllExtensionNumbersOfType:
      SetExtensionNumbers(pool_, request.all_extension_numbers_of_type(), &response);
      break;
    case ServerReflectionRequest::kListServices:
      for (const std::string& name : names_) {
        response.mutable_list_services_response()->add_service()->set_name(name);
      }
      break;
    case ServerReflectionRequest::MESSAGE_REQUEST_NOT_SET:
      SetError(grpc::StatusCode::UNIMPLEMENTED, "", &response);
      break;
  }
  return response;
}

}  // namespace weir::rpc
