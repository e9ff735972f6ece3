#include "services/collector/http_answer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "common/base/strings.h"
#include "common/rpc/error.h"

namespace weir::collector {
namespace {

std::string Lower(std::string_view text) {
  std::string lower(text);
  absl::AsciiStrToLower(&lower);
  return lower;
}

std::string_view Trimmed(std::string_view text) {
  constexpr std::string_view kBlanks = " \t";
  const size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlanks) + 1 - begin);
}

}  // namespace

std::string ContentType(const HttpHead& head) {
  const std::string_view type = head.header("content-type");
  return Lower(Trimmed(type.substr(0, type.find(';'))));
}

std::string ContentTypeParameter(const HttpHead& head, std::string_view name) {
  std::string_view rest = head.header("content-type");
  for (size_t end = rest.find(';'); end != std::string_view::npos; end = rest.find(';')) {
    rest.remove_prefix(end + 1);
    const std::string_view parameter = rest.substr(0, rest.find(';'));
    const size_t equals = parameter.find('=');
    if (equals == std::string_view::npos) continue;
    if (Lower(Trimmed(parameter.substr(0, equals))) != name) continue;
    std::string_view value = Trimmed(parameter.substr(equals + 1));
    if (value.size() >= 2 && value.starts_with('"') && value.ends_with('"')) {
      value = value.substr(1, value.size() - 2);
    }
    return std::string(value);
  }
  return "";
}

std::string ContentEncoding(const HttpHead& head) { return Lower(head.header("content-encoding")); }

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

void AddRetryAfter(const absl::Status& status, HttpResponse* response) {
  const auto delay = rpc::RetryDelayOf(status);
  if (!delay.has_value()) return;
  // Whole seconds are all that HTTP has.
  const int64_t seconds = absl::ToInt64Seconds(absl::Ceil(*delay, absl::Seconds(1)));
  response->headers.emplace_back("Retry-After", StrCat(std::max<int64_t>(seconds, 1)));
}

uint64_t HttpAnswer::AwaitAck(HttpResponse response) {
  // No ack comes before the caller has used the number.
  const uint64_t connection = router_.Register(shared_from_this());
  MutexLock lock(&mu_);
  response_ = std::move(response);
  connection_ = connection;
  return connection;
}

void HttpAnswer::OnAcked(uint64_t) {
  HttpResponse response;
  {
    MutexLock lock(&mu_);
    response = std::move(response_);
  }
  Finish(std::move(response));
}

void HttpAnswer::Finish(HttpResponse response) {
  call_->Respond(std::move(response));
  uint64_t connection;
  {
    MutexLock lock(&mu_);
    connection = connection_;
  }
  router_.Unregister(connection);
}

}  // namespace weir::collector
