// What ways in over HTTP share: what a request says its body is, and its one answer,
// now or when the samples are safe.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "common/base/mutex.h"
#include "services/collector/ack_router.h"
#include "services/collector/http_call.h"

namespace weir::collector {

// The media type of the body, in lower case and without its parameters.
std::string ContentType(const HttpHead& head);
// A parameter of it, by its name in lower case; empty when there is none.
std::string ContentTypeParameter(const HttpHead& head, std::string_view name);
// In lower case.
std::string ContentEncoding(const HttpHead& head);

// The HTTP status that says what the status says.
int HttpStatusOf(const absl::Status& status);
// Adds Retry-After, when the status says after which delay.
void AddRetryAfter(const absl::Status& status, HttpResponse* response);

// One request's answer.
//
// Thread safety: thread-safe.
class HttpAnswer final : public AckSink, public std::enable_shared_from_this<HttpAnswer> {
 public:
  // `router` outlives it.
  static std::shared_ptr<HttpAnswer> Create(AckRouter& router, std::shared_ptr<HttpCall> call) {
    return std::shared_ptr<HttpAnswer>(new HttpAnswer(router, std::move(call)));
  }

  // Keeps `response` for OnAcked; returns the number to wait under.
  uint64_t AwaitAck(HttpResponse response);
  // Answers at once; only the first answer counts.
  void Finish(HttpResponse response);

  // AckSink
  void OnAcked(uint64_t sequence) override;

 private:
  HttpAnswer(AckRouter& router, std::shared_ptr<HttpCall> call)
      : router_(router), call_(std::move(call)) {}

  AckRouter& router_;
  // The call may be answered after its connection has gone: then nobody hears.
  const std::shared_ptr<HttpCall> call_;

  Mutex mu_;
  HttpResponse response_ ABSL_GUARDED_BY(mu_);
  uint64_t connection_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace weir::collector
