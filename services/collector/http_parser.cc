#include "services/collector/http_parser.h"

#include <algorithm>
#include <charconv>

#include "common/base/check.h"
#include "common/base/strings.h"

namespace weir::collector {
namespace {

// A body's first room; it grows from there with what has arrived, so that a length
// that is only claimed costs nothing.
constexpr int64_t kFirstBodyBytes = 64 << 10;
constexpr size_t kMaxChunkLineBytes = 256;

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

std::string Lower(std::string_view text) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(), [](char c) { return Lower(c); });
  return lower;
}

// What methods and header names are made of (RFC 9110, 5.6.2).
bool Token(std::string_view text) {
  static constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= '0' && c <= '9') || (Lower(c) >= 'a' && Lower(c) <= 'z') ||
           kMarks.find(c) != std::string_view::npos;
  });
}

bool Printable(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c != '\x7f'; });
}

std::string_view Trim(std::string_view text) {
  const auto blank = [](char c) { return c == ' ' || c == '\t'; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return text;
}

// Whether a comma-separated list holds `word`, which is in lower case.
bool ListHolds(std::string_view list, std::string_view word) {
  while (!list.empty()) {
    const size_t comma = std::min(list.find(','), list.size());
    if (Lower(Trim(list.substr(0, comma))) == word) return true;
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return false;
}

// All of `text` as a number that is not negative.
std::optional<int64_t> Number(std::string_view text, int base) {
  int64_t value = 0;
  if (text.empty() || text.front() == '-') return std::nullopt;
  const char* const end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, value, base);
  if (result.ec == std::errc::result_out_of_range) return INT64_MAX;
  if (result.ec != std::errc() || result.ptr != end) return std::nullopt;
  return value;
}

}  // namespace

std::string_view HttpHead::header(std::string_view name) const {
  for (const auto& [each, value] : headers) {
    if (each == name) return value;
  }
  return {};
}

HttpParser::Event HttpParser::Fail(int http_status, std::string message) {
  state_ = State::kFailed;
  error_ = {.http_status = http_status, .message = std::move(message)};
  return Event::kFailed;
}

HttpParser::Event HttpParser::ReadLine(std::string_view* input) {
  const size_t end = input->find('\n');
  const std::string_view part = input->substr(0, end);
  head_bytes_ += part.size() + 1;
  if (head_bytes_ > limits_.max_head_bytes) {
    return Fail(431, StrCat("the head has more than ", limits_.max_head_bytes, " bytes"));
  }
  line_.append(part);
  if (end == std::string_view::npos) {
    --head_bytes_;  // there was no line's end to count
    *input = {};
    return Event::kMore;
  }
  input->remove_prefix(end + 1);
  if (!line_.ends_with('\r')) return Fail(400, "a line of the head does not end in CR LF");
  line_.pop_back();
  return Event::kDone;
}

HttpParser::Event HttpParser::Feed(std::string_view* input) {
  while (true) {
    switch (state_) {
      case State::kHead:
        if (const Event read = ReadLine(input); read != Event::kDone) return read;
        // Some clients send an empty line after a body; it is skipped.
        if (line_.empty() && request_line_read_) return EndOfHead();
        if (!line_.empty()) {
          const bool parsed = request_line_read_ ? ParseHeader(line_) : ParseRequestLine(line_);
          if (!parsed) return Event::kFailed;
          request_line_read_ = true;
          line_.clear();
        }
        break;
      case State::kChunkSize:
      case State::kChunkEnd:
      case State::kTrailer:
        if (const Event read = ReadLine(input); read != Event::kDone) return read;
        if (state_ == State::kChunkSize) {
          if (!ParseChunkSize()) return Event::kFailed;
        } else if (state_ == State::kChunkEnd) {
          if (!line_.empty()) return Fail(400, "a chunk is longer than its size says");
          head_bytes_ = 0;
          state_ = State::kChunkSize;
        } else if (line_.empty()) {
          state_ = State::kDone;
        }
        line_.clear();
        break;
      case State::kBody:
      case State::kChunkData:
        AppendBody(input);
        if (left_ > 0) return Event::kMore;
        if (state_ == State::kBody) {
          state_ = State::kDone;
        } else {
          head_bytes_ = 0;
          state_ = State::kChunkEnd;
        }
        break;
      case State::kDone:
        return Event::kDone;
      case State::kFailed:
        return Event::kFailed;
    }
  }
}

std::string HttpParser::TakeBody() {
  WEIR_CHECK(state_ == State::kDone);
  state_ = State::kHead;
  head_ = {};
  head_bytes_ = 0;
  request_line_read_ = false;
  return std::exchange(body_, {});
}

void HttpParser::Abandon() {
  state_ = State::kFailed;
  body_ = std::string();
}

HttpParser::Event HttpParser::EndOfHead() {
  line_.clear();
  head_bytes_ = 0;
  return ParseFraming() ? Event::kHead : Event::kFailed;
}

bool HttpParser::ParseRequestLine(std::string_view line) {
  const size_t first = line.find(' ');
  const size_t last = line.rfind(' ');
  const bool three = first != std::string_view::npos && last > first;
  const std::string_view version = three ? line.substr(last + 1) : std::string_view();
  if (!three || !version.starts_with("HTTP/")) {
    Fail(400, "this is not an HTTP/1.1 request");
    return false;
  }
  if (version != "HTTP/1.1" && version != "HTTP/1.0") {
    Fail(505, "only HTTP/1.1 is spoken here");
    return false;
  }
  head_.keep_alive = version == "HTTP/1.1";
  std::string_view target = line.substr(first + 1, last - first - 1);
  if (!Token(line.substr(0, first)) || target.empty() || !Printable(target)) {
    Fail(400, "the request line is malformed");
    return false;
  }
  // A client that takes us for a proxy writes the whole URL.
  constexpr std::string_view kScheme = "http://";
  if (target.starts_with(kScheme)) {
    const size_t slash = target.find('/', kScheme.size());
    target = slash == std::string_view::npos ? std::string_view("/") : target.substr(slash);
  }
  head_.method = std::string(line.substr(0, first));
  head_.path = std::string(target.substr(0, target.find('?')));
  return true;
}

bool HttpParser::ParseHeader(std::string_view line) {
  const size_t colon = line.find(':');
  const std::string_view value =
      colon == std::string_view::npos ? std::string_view() : Trim(line.substr(colon + 1));
  // A name with a blank in it, which is no token, is also how folded lines look.
  if (colon == std::string_view::npos || !Token(line.substr(0, colon)) ||
      value.find('\0') != std::string_view::npos || value.find('\r') != std::string_view::npos) {
    Fail(400, "a header is malformed");
    return false;
  }
  head_.headers.emplace_back(Lower(line.substr(0, colon)), value);
  return true;
}

// How the body ends, and what else the server needs of the headers.
bool HttpParser::ParseFraming() {
  bool length_given = false;
  bool chunked = false;
  for (const auto& [name, value] : head_.headers) {
    if (name == "content-length") {
      head_.content_length = Number(value, 10);
      if (length_given || !head_.content_length.has_value()) {
        Fail(400, "Content-Length is not one number");
        return false;
      }
      length_given = true;
    } else if (name == "transfer-encoding") {
      if (chunked || Lower(value) != "chunked") {
        Fail(501, "the only Transfer-Encoding known is chunked");
        return false;
      }
      chunked = true;
    } else if (name == "connection") {
      if (ListHolds(value, "close")) head_.keep_alive = false;
    } else if (name == "expect") {
      head_.expects_continue = Lower(value) == "100-continue";
      if (!head_.expects_continue) {
        Fail(417, "the only Expect known is 100-continue");
        return false;
      }
    }
  }
  if (chunked && length_given) {
    Fail(400, "Content-Length and Transfer-Encoding exclude each other");
    return false;
  }
  if (chunked) {
    head_.content_length.reset();
    state_ = State::kChunkSize;
    return true;
  }
  left_ = *head_.content_length;
  state_ = State::kBody;
  if (left_ <= limits_.max_body_bytes) return true;
  Fail(413, StrCat("the body has more than ", limits_.max_body_bytes, " bytes"));
  return false;
}

bool HttpParser::ParseChunkSize() {
  const std::string_view size = std::string_view(line_).substr(0, line_.find(';'));
  const std::optional<int64_t> bytes = Number(Trim(size), 16);
  if (!bytes.has_value() || line_.size() > kMaxChunkLineBytes) {
    Fail(400, "a chunk's size is malformed");
    return false;
  }
  if (*bytes > limits_.max_body_bytes - static_cast<int64_t>(body_.size())) {
    Fail(413, StrCat("the body has more than ", limits_.max_body_bytes, " bytes"));
    return false;
  }
  left_ = *bytes;
  state_ = left_ == 0 ? State::kTrailer : State::kChunkData;
  return true;
}

void HttpParser::AppendBody(std::string_view* input) {
  const auto size = static_cast<int64_t>(std::min(input->size(), static_cast<size_t>(left_)));
  const auto before = static_cast<int64_t>(body_.size());
  const auto room = static_cast<int64_t>(body_.capacity());
  if (before + size > room) {
    // Twice the room each time, but no more than there can be.
    const int64_t most = head_.content_length.value_or(limits_.max_body_bytes);
    const int64_t grown = std::max({before + size, 2 * room, kFirstBodyBytes});
    body_.reserve(static_cast<size_t>(std::min(grown, most)));
  }
  body_.append(input->substr(0, static_cast<size_t>(size)));
  input->remove_prefix(static_cast<size_t>(size));
  left_ -= size;
}

}  // namespace weir::collector
