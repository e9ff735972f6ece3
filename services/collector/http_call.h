// One HTTP request between the server's thread, which reads it and writes its answer,
// and the handler, which answers it from any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/base/mutex.h"
#include "services/collector/http_parser.h"

namespace weir::collector {

struct HttpRequest {
  HttpHead head;
  std::string body;
};

struct HttpResponse {
  int status = 200;
  std::string content_type;
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;  // others
};

// The response as it is sent.
std::string RenderHttp(const HttpResponse& response, bool keep_alive, bool with_body,
                       absl::Time now);

// Why a request must wait: all of them together hold what they may.
absl::Status HttpMemoryTaken();

// Where answers wait for the server's thread, and what all requests hold.
//
// Thread safety: thread-safe.
class HttpOutbox {
 public:
  struct Answer {
    uint64_t connection = 0;
    uint64_t call = 0;
    HttpResponse response;
  };

  explicit HttpOutbox(int64_t max_held_bytes);
  ~HttpOutbox();

  // For the server's thread, which it wakes.
  void Put(Answer answer);
  std::vector<Answer> TakeAll();
  void Wake();

  // Takes `bytes` more for a request that holds `held` already. The last part is kept
  // for requests of an ordinary size, so that large ones cannot take it from them.
  bool Hold(int64_t bytes, int64_t held) {
    const int64_t kept = held + bytes > kOrdinaryBytes ? reserved_bytes() : 0;
    if (free_bytes_.fetch_sub(bytes) - bytes >= kept) return true;
    free_bytes_ += bytes;
    return false;
  }
  void Release(int64_t bytes) { free_bytes_ += bytes; }

  // The most that one request can hold.
  int64_t max_request_bytes() const { return max_held_bytes_ - reserved_bytes(); }
  int wake_fd() const { return wake_fd_; }

 private:
  // Ten times what an SDK sends.
  static constexpr int64_t kOrdinaryBytes = 1 << 20;

  int64_t reserved_bytes() const { return max_held_bytes_ / 8; }

  const int64_t max_held_bytes_;
  const int wake_fd_;
  std::atomic<int64_t> free_bytes_;

  Mutex mu_;
  std::vector<Answer> answers_ ABSL_GUARDED_BY(mu_);
};

// A request on its way to its answer. It may outlive its connection and the server:
// then nobody hears the answer.
//
// Thread safety: Respond is thread-safe; the rest belongs to the worker.
class HttpCall {
 public:
  HttpCall(std::shared_ptr<HttpOutbox> outbox, uint64_t connection, uint64_t number,
           HttpRequest request, int64_t held_bytes);
  ~HttpCall();
  HttpCall(const HttpCall&) = delete;
  HttpCall& operator=(const HttpCall&) = delete;

  // Until Take returns.
  const HttpRequest& request() const { return request_; }

  // Counts what handling it takes in memory, until Take returns.
  // Errors: ResourceExhausted (MESSAGE_TOO_LARGE) for more than there ever is,
  // Unavailable (OVERLOADED) with a delay for more than there is now.
  absl::Status Hold(int64_t bytes);

  // Answers; only the first counts.
  void Respond(HttpResponse response);

 private:
  friend class HttpServer;  // ReleaseRequest
  // Take has returned.
  void ReleaseRequest();

  // Shared with the server: a call may be answered after the server has gone.
  const std::shared_ptr<HttpOutbox> outbox_;
  const uint64_t connection_;
  const uint64_t number_;
  std::atomic<bool> answered_{false};

  // Owned by the worker.
  HttpRequest request_;
  int64_t held_bytes_;
};

// What serves one path.
class HttpHandler {
 public:
  virtual ~HttpHandler() = default;
  // A head has come: OK to have the body read, or why not, which is answered at
  // once. On the server's thread; must not block.
  virtual absl::Status Check(const HttpHead& head) = 0;
  // A request has come; on a worker.
  virtual void Take(std::shared_ptr<HttpCall> call) = 0;
  // The answer to a request that failed. On any thread.
  virtual HttpResponse Failure(const HttpHead& head, const absl::Status& status) = 0;
};

}  // namespace weir::collector
