#include "services/collector/otlp_http.h"

#include <google/protobuf/message.h>
#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "common/base/check.h"
#include "common/base/mutex.h"
#include "common/base/strings.h"
#include "common/rpc/buffer.h"
#include "common/rpc/error.h"
#include "common/rpc/inflate.h"
#include "google/rpc/status.pb.h"

namespace weir::collector {
namespace {

constexpr std::string_view kProtobuf = "application/x-protobuf";
constexpr std::string_view kJson = "application/json";

constexpr int kMaxJsonDepth = 100;
// For each message or list in a JSON text, and for each element: an empty data point,
// `{},`, is some 150 bytes.
constexpr int64_t kBytesPerBracket = 200;
constexpr int64_t kBytesPerComma = 16;

std::string Lower(std::string_view text) {
  std::string lower(text);
  absl::AsciiStrToLower(&lower);
  return lower;
}

// The media type without its parameters.
std::string ContentType(const HttpHead& head) {
  std::string_view type = head.header("content-type");
  type = type.substr(0, type.find(';'));
  while (type.ends_with(' ') || type.ends_with('\t')) type.remove_suffix(1);
  return Lower(type);
}

std::string ContentEncoding(const HttpHead& head) { return Lower(head.header("content-encoding")); }

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

int HttpStatusOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
      return 400;
    case absl::StatusCode::kDeadlineExceeded:
      return 408;
    case absl::StatusCode::kResourceExhausted:
      return rpc::ReasonOf(status) == v1::MESSAGE_TOO_LARGE ? 413 : 429;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kAborted:
      return 503;
    default:
      return 500;
  }
}

HttpResponse Failed(int http_status, const absl::Status& status, bool json) {
  google::rpc::Status wire;
  wire.ParseFromString(rpc::ToGrpc(status).error_details());
  HttpResponse response = Rendered(http_status, wire, json);
  if (const auto delay = rpc::RetryDelayOf(status)) {
    // Whole seconds are all that HTTP has.
    const int64_t seconds = absl::ToInt64Seconds(absl::Ceil(*delay, absl::Seconds(1)));
    response.headers.emplace_back("Retry-After", StrCat(std::max<int64_t>(seconds, 1)));
  }
  return response;
}

// What Check refuses with 415; other errors of these fields do not occur.
bool UnsupportedMedia(const HttpHead& head) {
  const std::string type = ContentType(head);
  const std::string encoding = ContentEncoding(head);
  return (type != kProtobuf && type != kJson) ||
         (!encoding.empty() && encoding != "gzip" && encoding != "identity");
}

// One request, from its bytes to its answer.
class OtlpCall final : public AckSink, public PendingAnswer {
 public:
  static std::shared_ptr<OtlpCall> Create(AckRouter& router, std::shared_ptr<HttpCall> call,
                                          bool json) {
    auto made = std::shared_ptr<OtlpCall>(new OtlpCall(router, std::move(call), json));
    made->self_ = made;
    return made;
  }

  uint64_t AwaitAck(const google::protobuf::MessageLite& answer) override {
    HttpResponse response = Rendered(200, answer, json_);
    // No ack comes before the caller has used the number.
    const uint64_t connection = router_.Register(self_.lock());
    MutexLock lock(&mu_);
    response_ = std::move(response);
    connection_ = connection;
    return connection;
  }
  void Answer(const google::protobuf::MessageLite& answer) override {
    Finish(Rendered(200, answer, json_));
  }
  void Fail(const absl::Status& status) override {
    Finish(Failed(HttpStatusOf(status), status, json_));
  }
  void OnAcked(uint64_t) override {
    HttpResponse response;
    {
      MutexLock lock(&mu_);
      response = std::move(response_);
    }
    Finish(std::move(response));
  }

 private:
  OtlpCall(AckRouter& router, std::shared_ptr<HttpCall> call, bool json)
      : router_(router), call_(std::move(call)), json_(json) {}

  void Finish(HttpResponse response) {
    call_->Respond(std::move(response));
    uint64_t connection;
    {
      MutexLock lock(&mu_);
      connection = connection_;
    }
    router_.Unregister(connection);
  }

  AckRouter& router_;
  // The call may be answered after its connection has gone: then nobody hears.
  const std::shared_ptr<HttpCall> call_;
  const bool json_;
  std::weak_ptr<OtlpCall> self_;

  Mutex mu_;
  HttpResponse response_ ABSL_GUARDED_BY(mu_);
  uint64_t connection_ ABSL_GUARDED_BY(mu_) = 0;
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
  const std::shared_ptr<OtlpCall> answer = OtlpCall::Create(router_, call, json);
  std::string_view bytes = request.body;
  std::string inflated;
  if (ContentEncoding(request.head) == "gzip") {
    absl::Status status;
    // A size that is too large is InflateGzip's to refuse.
    const int64_t size = rpc::InflatedSize(bytes);
    if (size <= rpc::kMaxMessageBytes) status = call->Hold(size);
    if (status.ok()) status = rpc::InflateGzip(bytes, rpc::kMaxMessageBytes, &inflated);
    if (!status.ok()) return answer->Fail(status);
    bytes = inflated;
  }
  if (!json) return protobuf_(bytes, *answer);
  const absl::StatusOr<int64_t> weight = JsonWeight(bytes);
  const absl::Status held = weight.ok() ? call->Hold(*weight) : weight.status();
  if (!held.ok()) return answer->Fail(held);
  json_(bytes, *answer);
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
