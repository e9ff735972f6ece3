#include "services/collector/remote_write_http.h"

#include <optional>
#include <string>
#include <utility>

#include "common/base/strings.h"
#include "common/rpc/buffer.h"
#include "common/rpc/error.h"
#include "common/rpc/snappy.h"
#include "services/collector/convert.h"
#include "services/collector/http_answer.h"

namespace weir::collector {
namespace {

constexpr std::string_view kProtobuf = "application/x-protobuf";
constexpr std::string_view kVersion1 = "prometheus.WriteRequest";
constexpr std::string_view kVersion2 = "io.prometheus.write.v2.Request";

// nullopt for what is neither of them.
std::optional<RemoteWriteVersion> VersionOf(const HttpHead& head) {
  if (ContentType(head) != kProtobuf) return std::nullopt;
  const std::string message = ContentTypeParameter(head, "proto");
  if (message.empty() || message == kVersion1) return RemoteWriteVersion::k1;
  if (message == kVersion2) return RemoteWriteVersion::k2;
  return std::nullopt;
}

bool UnsupportedMedia(const HttpHead& head) {
  return !VersionOf(head).has_value() || ContentEncoding(head) != "snappy";
}

HttpResponse Answered(int http_status, std::string_view text, const WriteResult& written) {
  HttpResponse response = {.status = http_status};
  if (!text.empty()) {
    response.content_type = "text/plain; charset=utf-8";
    response.body = StrCat(text, "\n");
  }
  for (const auto& [what, count] :
       {std::pair("Samples", written.samples), std::pair("Histograms", written.histograms),
        std::pair("Exemplars", written.exemplars)}) {
    response.headers.emplace_back(StrCat("X-Prometheus-Remote-Write-", what, "-Written"),
                                  StrCat(count));
  }
  return response;
}

HttpResponse Answered(const WriteResult& written) {
  if (written.rejections.list().empty()) return Answered(204, "", written);
  return Answered(400,
                  StrCat(written.samples + written.histograms, " samples are written and ",
                         written.rejections.count(),
                         " rejected, which must not be sent again: ", InWords(written.rejections)),
                  written);
}

HttpResponse Failed(int http_status, const absl::Status& status) {
  const auto reason = rpc::ReasonOf(status);
  HttpResponse response =
      Answered(http_status,
               StrCat(reason.has_value() ? v1::ErrorReason_Name(*reason) + ": " : "",
                      StdView(status.message())),
               {});
  AddRetryAfter(status, &response);
  return response;
}

// One request's answer.
class WriteAnswer final : public PendingWrite {
 public:
  explicit WriteAnswer(std::shared_ptr<HttpAnswer> http) : http_(std::move(http)) {}

  uint64_t AwaitAck(const WriteResult& written) override {
    return http_->AwaitAck(Answered(written));
  }
  void Answer(const WriteResult& written) override { http_->Finish(Answered(written)); }
  void Fail(const absl::Status& status) override {
    http_->Finish(Failed(HttpStatusOf(status), status));
  }

 private:
  const std::shared_ptr<HttpAnswer> http_;
};

}  // namespace

absl::Status RemoteWriteHttp::Check(const HttpHead& head) {
  if (!VersionOf(head).has_value()) {
    return rpc::InvalidField(
        "content-type",
        StrCat("write ", kProtobuf, ", with ;proto=", kVersion1, " or ", kVersion2));
  }
  if (UnsupportedMedia(head)) return rpc::InvalidField("content-encoding", "write snappy");
  return absl::OkStatus();
}

HttpResponse RemoteWriteHttp::Failure(const HttpHead& head, const absl::Status& status) {
  if (UnsupportedMedia(head)) return Failed(415, status);
  // A request that took too long to come may be sent again, which Prometheus does not
  // after 408.
  return Failed(absl::IsDeadlineExceeded(status) ? 503 : HttpStatusOf(status), status);
}

void RemoteWriteHttp::Take(std::shared_ptr<HttpCall> call) {
  WriteAnswer answer(HttpAnswer::Create(router_, call));
  const std::string_view block = call->request().body;
  absl::Status status;
  std::string bytes;
  if (const auto size = rpc::DecompressedSize(block, rpc::kMaxMessageBytes); size.ok()) {
    status = call->Hold(*size);
    if (status.ok()) status = rpc::DecompressSnappy(block, rpc::kMaxMessageBytes, &bytes);
  } else {
    status = size.status();
  }
  if (!status.ok()) return answer.Fail(status);
  intake_(*VersionOf(call->request().head), bytes, answer);
}

}  // namespace weir::collector
