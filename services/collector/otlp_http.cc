#include "services/collector/otlp_http.h"

#include <google/protobuf/message.h>
#include <google/protobuf/util/json_util.h>

#include <string>
#include <utility>

#include "common/base/check.h"
#include "common/base/strings.h"
#include "common/rpc/buffer.h"
#include "common/rpc/error.h"
#include "common/rpc/inflate.h"
#include "google/rpc/status.pb.h"
#include "services/collector/http_answer.h"

namespace weir::collector {
namespace {

constexpr std::string_view kProtobuf = "application/x-protobuf";
constexpr std::string_view kJson = "application/json";

constexpr int kMaxJsonDepth = 100;
// For each message or list in a JSON text, and for each element: an empty data point,
// `{},`, is some 150 bytes.
constexpr int64_t kBytesPerBracket = 200;
constexpr int64_t kBytesPerComma = 16;

bool WantsJson(const HttpHead& head) { return ContentType(head) == kJson; }

HttpResponse Rendered(int http_status, const google::protobuf::MessageLite& message, bool json) {
  HttpResponse response = {.status = http_status,
                           .content_type = std::string(json ? kJson : kProtobuf)};
  if (json) {
    // Every message of ours is a full one.
    const auto& full = dynamic_cast<const google::protobuf::Message&>(message);
    WEIR_CHECK(google::protobuf::util::MessageToJsonString(full, &response.body).ok());
  } else {
    response.body = message.SerializeAsString();
  }
  return response;
}

HttpResponse Failed(int http_status, const absl::Status& status, bool json) {
  google::rpc::Status wire;
  wire.ParseFromString(rpc::ToGrpc(status).error_details());
  HttpResponse response = Rendered(http_status, wire, json);
  AddRetryAfter(status, &response);
  return response;
}

// What Check refuses with 415; other errors of these fields do not occur.
bool UnsupportedMedia(const HttpHead& head) {
  const std::string type = ContentType(head);
  const std::string encoding = ContentEncoding(head);
  return (type != kProtobuf && type != kJson) ||
         (!encoding.empty() && encoding != "gzip" && encoding != "identity");
}

// One request's answer, in its content type.
class OtlpAnswer final : public PendingAnswer {
 public:
  OtlpAnswer(std::shared_ptr<HttpAnswer> http, bool json) : http_(std::move(http)), json_(json) {}

  uint64_t AwaitAck(const google::protobuf::MessageLite& answer) override {
    return http_->AwaitAck(Rendered(200, answer, json_));
  }
  void Answer(const google::protobuf::MessageLite& answer) override {
    http_->Finish(Rendered(200, answer, json_));
  }
  void Fail(const absl::Status& status) override {
    http_->Finish(Failed(HttpStatusOf(status), status, json_));
  }

 private:
  const std::shared_ptr<HttpAnswer> http_;
  const bool json_;
};

}  // namespace

absl::Status OtlpHttp::Check(const HttpHead& head) {
  const std::string type = ContentType(head);
  if (type != kProtobuf && type != kJson) {
    return rpc::InvalidField("content-type", StrCat("write ", kProtobuf, " or ", kJson));
  }
  if (UnsupportedMedia(head)) {
    return rpc::InvalidField("content-encoding", "write gzip, identity or nothing");
  }
  return absl::OkStatus();
}

HttpResponse OtlpHttp::Failure(const HttpHead& head, const absl::Status& status) {
  return Failed(UnsupportedMedia(head) ? 415 : HttpStatusOf(status), status, WantsJson(head));
}

void OtlpHttp::Take(std::shared_ptr<HttpCall> call) {
  const HttpRequest& request = call->request();
  const bool json = WantsJson(request.head);
  OtlpAnswer answer(HttpAnswer::Create(router_, call), json);
  std::string_view bytes = request.body;
  std::string inflated;
  if (ContentEncoding(request.head) == "gzip") {
    absl::Status status;
    // A size that is too large is InflateGzip's to refuse.
    const int64_t size = rpc::InflatedSize(bytes);
    if (size <= rpc::kMaxMessageBytes) status = call->Hold(size);
    if (status.ok()) status = rpc::InflateGzip(bytes, rpc::kMaxMessageBytes, &inflated);
    if (!status.ok()) return answer.Fail(status);
    bytes = inflated;
  }
  if (!json) return protobuf_(bytes, answer);
  const absl::StatusOr<int64_t> weight = JsonWeight(bytes);
  const absl::Status held = weight.ok() ? call->Hold(*weight) : weight.status();
  if (!held.ok()) return answer.Fail(held);
  json_(bytes, answer);
}

absl::StatusOr<int64_t> JsonWeight(std::string_view json) {
  int depth = 0;
  int64_t weight = static_cast<int64_t>(json.size());
  bool quoted = false;
  for (size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (quoted) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        quoted = false;
      }
      continue;
    }
    switch (c) {
      case '"':
        quoted = true;
        break;
      case '{':
      case '[':
        weight += kBytesPerBracket;
        if (++depth > kMaxJsonDepth) {
          return rpc::Error(absl::StatusCode::kInvalidArgument, v1::UNDECODABLE,
                            StrCat("the JSON is nested more than ", kMaxJsonDepth, " deep"));
        }
        break;
      case '}':
      case ']':
        --depth;
        break;
      case ',':
        weight += kBytesPerComma;
        break;
      default:
        break;
    }
  }
  return weight;
}

}  // namespace weir::collector
