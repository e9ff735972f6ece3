// HTTP/1.1 requests from the bytes of a connection, within bounds, as they come.
//
//   Feed ─> kMore ─> Feed ─> kHead ─> (look at head()) ─> Feed ─> kDone ─> TakeBody
//
// The head ends at its empty line and has so many bytes at most; the body is given
// by Content-Length or comes in chunks. Whatever two readers could understand in two
// ways (both lengths at once, a length twice, folded lines, a space before a colon)
// is refused.
//
// Not cpp-httplib, which serves our metrics: it reads lines without a bound, waits
// for a slow client with a thread, and inflates by itself.
//
// Thread safety: thread-compatible.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace weir::collector {

struct HttpHead {
  std::string method;
  std::string path;  // without the query
  // Names in lower case, in the order they came.
  std::vector<std::pair<std::string, std::string>> headers;
  // Whether the client expects the connection to stay open.
  bool keep_alive = true;
  // Whether it waits for "100 Continue" before it sends the body.
  bool expects_continue = false;
  // Absent for a body in chunks, 0 for none.
  std::optional<int64_t> content_length = 0;

  // The value of a header, by its name in lower case; empty when there is none.
  std::string_view header(std::string_view name) const;
};

class HttpParser {
 public:
  struct Limits {
    size_t max_head_bytes = 16 << 10;
    int64_t max_body_bytes = int64_t{64} << 20;
  };
  enum class Event {
    kMore,    // all input was taken, and more is needed
    kHead,    // head() is there; given once per request
    kDone,    // so is the body; nothing more is taken until TakeBody
    kFailed,  // error(); nothing more can be read from this connection
  };
  // What the request is to be answered with: 400, 413, 417, 431, 501 or 505.
  struct Error {
    int http_status = 0;
    std::string message;
  };

  explicit HttpParser(Limits limits) : limits_(limits) {}

  // Takes from the front of `*input` up to the next event.
  Event Feed(std::string_view* input);

  const HttpHead& head() const { return head_; }
  const Error& error() const { return error_; }
  // Whether a request has begun and is not complete.
  bool within_request() const {
    return state_ != State::kHead || request_line_read_ || !line_.empty();
  }
  // The memory that the body takes so far.
  int64_t body_bytes() const {
    // A short string lies within itself.
    return body_.capacity() > std::string().capacity() ? static_cast<int64_t>(body_.capacity()) : 0;
  }

  // Ends the request: the next Feed begins another. REQUIRES: the event was kDone.
  std::string TakeBody();
  // Reads nothing more, and gives back the body's memory.
  void Abandon();

 private:
  enum class State {
    kHead,
    kBody,       // left_ bytes more
    kChunkSize,  // a line
    kChunkData,  // left_ bytes more, then an empty line
    kChunkEnd,
    kTrailer,  // lines up to an empty one
    kDone,
    kFailed,
  };

  Event Fail(int http_status, std::string message);
  // Appends to line_ up to the line's end, which is left out. kDone when it is there.
  Event ReadLine(std::string_view* input);
  Event EndOfHead();
  bool ParseRequestLine(std::string_view line);
  bool ParseHeader(std::string_view line);
  bool ParseFraming();
  bool ParseChunkSize();
  void AppendBody(std::string_view* input);

  const Limits limits_;
  State state_ = State::kHead;
  Error error_;
  HttpHead head_;
  std::string line_;
  size_t head_bytes_ = 0;  // of the head, then of chunk lines and trailers
  bool request_line_read_ = false;
  int64_t left_ = 0;
  std::string body_;
};

}  // namespace weir::collector
