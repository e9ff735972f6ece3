#include "services/collector/http_call.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <string_view>

#include "common/base/check.h"
#include "common/base/strings.h"
#include "common/rpc/error.h"

namespace weir::collector {
namespace {

std::string_view ReasonPhrase(int status) {
  constexpr std::pair<int, std::string_view> kPhrases[] = {
      {200, "OK"},
      {204, "No Content"},
      {400, "Bad Request"},
      {404, "Not Found"},
      {405, "Method Not Allowed"},
      {408, "Request Timeout"},
      {413, "Content Too Large"},
      {415, "Unsupported Media Type"},
      {417, "Expectation Failed"},
      {429, "Too Many Requests"},
      {431, "Request Header Fields Too Large"},
      {500, "Internal Server Error"},
      {501, "Not Implemented"},
      {503, "Service Unavailable"},
      {505, "HTTP Version Not Supported"},
  };
  for (const auto& [known, phrase] : kPhrases) {
    if (known == status) return phrase;
  }
  return "Status";
}

}  // namespace

std::string RenderHttp(const HttpResponse& response, bool keep_alive, bool with_body,
                       absl::Time now) {
  std::string text =
      StrCat("HTTP/1.1 ", response.status, " ", ReasonPhrase(response.status),
             "\r\nDate: ", absl::FormatTime("%a, %d %b %Y %H:%M:%S GMT", now, absl::UTCTimeZone()),
             "\r\n");
  // With 204 there is no length to be told.
  if (response.status != 204) StrAppend(&text, "Content-Length: ", response.body.size(), "\r\n");
  if (!response.content_type.empty()) {
    StrAppend(&text, "Content-Type: ", response.content_type, "\r\n");
  }
  for (const auto& [name, value] : response.headers) StrAppend(&text, name, ": ", value, "\r\n");
  StrAppend(&text, keep_alive ? "" : "Connection: close\r\n", "\r\n",
            with_body ? std::string_view(response.body) : std::string_view());
  return text;
}

absl::Status HttpMemoryTaken() {
  return rpc::WithRetryDelay(
      rpc::Error(absl::StatusCode::kUnavailable, v1::OVERLOADED,
                 "requests take as much memory as they may; send the same again"),
      absl::Seconds(1));
}

HttpOutbox::HttpOutbox(int64_t max_held_bytes)
    : max_held_bytes_(max_held_bytes),
      wake_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      free_bytes_(max_held_bytes) {
  WEIR_CHECK(wake_fd_ >= 0);
}

HttpOutbox::~HttpOutbox() { ::close(wake_fd_); }

void HttpOutbox::Put(Answer answer) {
  {
    MutexLock lock(&mu_);
    answers_.push_back(std::move(answer));
  }
  Wake();
}

std::vector<HttpOutbox::Answer> HttpOutbox::TakeAll() {
  uint64_t count;
  [[maybe_unused]] const ssize_t read = ::read(wake_fd_, &count, sizeof count);
  MutexLock lock(&mu_);
  return std::exchange(answers_, {});
}

void HttpOutbox::Wake() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(wake_fd_, &one, sizeof one);
}

HttpCall::HttpCall(std::shared_ptr<HttpOutbox> outbox, uint64_t connection, uint64_t number,
                   HttpRequest request, int64_t held_bytes)
    : outbox_(std::move(outbox)),
      connection_(connection),
      number_(number),
      request_(std::move(request)),
      held_bytes_(held_bytes) {}

HttpCall::~HttpCall() { ReleaseRequest(); }

absl::Status HttpCall::Hold(int64_t bytes) {
  if (held_bytes_ + bytes > outbox_->max_request_bytes()) {
    return rpc::Error(absl::StatusCode::kResourceExhausted, v1::MESSAGE_TOO_LARGE,
                      StrCat("the request would take ", held_bytes_ + bytes,
                             " bytes in memory; send it in parts"),
                      {{"limit_bytes", StrCat(outbox_->max_request_bytes())}});
  }
  if (!outbox_->Hold(bytes, held_bytes_)) return HttpMemoryTaken();
  held_bytes_ += bytes;
  return absl::OkStatus();
}

void HttpCall::Respond(HttpResponse response) {
  if (answered_.exchange(true)) return;
  outbox_->Put({.connection = connection_, .call = number_, .response = std::move(response)});
}

void HttpCall::ReleaseRequest() {
  request_ = {};
  outbox_->Release(std::exchange(held_bytes_, 0));
}

}  // namespace weir::collector
