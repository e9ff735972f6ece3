#include "common/rpc/reflection_service.h"

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.pb.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "weir/v1/ingest_service.pb.h"

namespace weir::rpc {
namespace {

using google::protobuf::FileDescriptorProto;
using grpc::reflection::v1::ServerReflectionRequest;
using grpc::reflection::v1::ServerReflectionResponse;
using ::testing::ElementsAre;
using ::testing::SizeIs;

constexpr char kService[] = "weir.v1.IngestService";
constexpr char kFile[] = "weir/v1/ingest_service.proto";

class ReflectionServiceTest : public ::testing::Test {
 protected:
  ReflectionServiceTest() { reflection_.Add(kService); }

  ServerReflectionResponse OfFile(const std::string& name) {
    ServerReflectionRequest request;
    request.set_file_by_filename(name);
    return reflection_.Answer(request);
  }
  ServerReflectionResponse OfSymbol(const std::string& name) {
    ServerReflectionRequest request;
    request.set_file_containing_symbol(name);
    return reflection_.Answer(request);
  }
  ServerReflectionResponse OfExtension(const std::string& type, int number) {
    ServerReflectionRequest request;
    request.mutable_file_containing_extension()->set_containing_type(type);
    request.mutable_file_containing_extension()->set_extension_number(number);
    return reflection_.Answer(request);
  }
  ServerReflectionResponse OfExtensionsOf(const std::string& type) {
    ServerReflectionRequest request;
    request.set_all_extension_numbers_of_type(type);
    return reflection_.Answer(request);
  }

  ReflectionService reflection_;
};

std::vector<std::string> FilesOf(const ServerReflectionResponse& response) {
  std::vector<std::string> names;
  for (const std::string& bytes : response.file_descriptor_response().file_descriptor_proto()) {
    FileDescriptorProto file;
    EXPECT_TRUE(file.ParseFromString(bytes));
    names.push_back(file.name());
  }
  return names;
}

void ExpectError(const ServerReflectionResponse& response, grpc::StatusCode code,
                 const std::string& message) {
  EXPECT_EQ(response.error_response().error_code(), code);
  EXPECT_EQ(response.error_response().error_message(), message);
}

TEST_F(ReflectionServiceTest, ListsWhatWasAddedAndItself) {
  ServerReflectionRequest request;
  request.set_list_services("");
  std::set<std::string> names;
  const ServerReflectionResponse response = reflection_.Answer(request);
  for (const auto& service : response.list_services_response().service()) {
    names.insert(service.name());
  }
  EXPECT_THAT(names, ElementsAre("grpc.reflection.v1.ServerReflection",
                                 "grpc.reflection.v1alpha.ServerReflection", kService));
}

TEST_F(ReflectionServiceTest, AFileComesFirstAndThenAllItImportsOnce) {
  const ServerReflectionResponse response = OfFile(kFile);
  const std::vector<std::string> files = FilesOf(response);
  ASSERT_FALSE(files.empty());
  EXPECT_EQ(files[0], kFile);
  const std::set<std::string> once(files.begin(), files.end());
  EXPECT_THAT(once, SizeIs(files.size()));
  for (const std::string& bytes : response.file_descriptor_response().file_descriptor_proto()) {
    FileDescriptorProto file;
    ASSERT_TRUE(file.ParseFromString(bytes));
    for (const std::string& import : file.dependency()) EXPECT_TRUE(once.contains(import));
  }
  FileDescriptorProto original;
  v1::PushRequest::descriptor()->file()->CopyTo(&original);
  EXPECT_EQ(response.file_descriptor_response().file_descriptor_proto(0),
            original.SerializeAsString());
}

TEST_F(ReflectionServiceTest, EverySymbolLeadsToItsFile) {
  for (const char* symbol :
       {kService, "weir.v1.IngestService.Push", "weir.v1.PushRequest",
        "weir.v1.PushRequest.samples", "weir.v1.StreamBatchesRequest.message"}) {
    EXPECT_EQ(FilesOf(OfSymbol(symbol)), FilesOf(OfFile(kFile))) << symbol;
  }
  for (const char* symbol :
       {"weir.v1.Kind", "weir.v1.KIND_GAUGE", "weir.v1.ErrorReason", "google.rpc.ErrorInfo",
        "google.rpc.RetryInfo", "google.rpc.Status", "google.protobuf.Timestamp",
        "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"}) {
    EXPECT_FALSE(FilesOf(OfSymbol(symbol)).empty()) << symbol;
  }
}

TEST_F(ReflectionServiceTest, WhatIsNotKnownIsNotFound) {
  const auto not_found = grpc::StatusCode::NOT_FOUND;
  ExpectError(OfFile("nothing.proto"), not_found, "File not found.");
  ExpectError(OfFile(""), not_found, "File not found.");
  ExpectError(OfSymbol("weir.v1.Nothing"), not_found, "Symbol not found.");
  ExpectError(OfSymbol("weir.v1.PushRequest.nothing"), not_found, "Symbol not found.");
  ExpectError(OfSymbol(""), not_found, "Symbol not found.");
  ExpectError(OfExtension("weir.v1.Nothing", 1), not_found, "Type not found.");
  ExpectError(OfExtension("weir.v1.PushRequest", 1), not_found, "Extension not found.");
  ExpectError(OfExtensionsOf("weir.v1.Nothing"), not_found, "Type not found.");
}

TEST_F(ReflectionServiceTest, ATypeWithoutExtensionsHasNoNumbers) {
  const ServerReflectionResponse response = OfExtensionsOf("weir.v1.PushRequest");
  ASSERT_TRUE(response.has_all_extension_numbers_response());
  EXPECT_EQ(response.all_extension_numbers_response().base_type_name(), "weir.v1.PushRequest");
  EXPECT_THAT(response.all_extension_numbers_response().extension_number(), SizeIs(0));
}

TEST_F(ReflectionServiceTest, EveryAnswerRepeatsItsQuestion) {
  ServerReflectionRequest request;
  request.set_host("here");
  const ServerReflectionResponse response = reflection_.Answer(request);
  EXPECT_EQ(response.valid_host(), "here");
  EXPECT_EQ(response.original_request().SerializeAsString(), request.SerializeAsString());
  ExpectError(response, grpc::StatusCode::UNIMPLEMENTED, "");
}

}  // namespace
}  // namespace weir::rpc
