// A connection of anybody: what is understood does not depend on how the bytes were
// cut, nothing is longer than allowed, and what failed stays failed.
#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/check.h"
#include "services/collector/http_parser.h"

namespace {

using weir::collector::HttpHead;
using weir::collector::HttpParser;

constexpr HttpParser::Limits kLimits = {.max_head_bytes = 512, .max_body_bytes = 256};

// What a server would see of `input`, given so many bytes at a time.
std::string Understood(std::string_view input, size_t step) {
  HttpParser parser(kLimits);
  std::string seen;
  while (!input.empty()) {
    std::string_view piece = input.substr(0, step);
    input.remove_prefix(piece.size());
    while (true) {
      const size_t before = piece.size();
      switch (parser.Feed(&piece)) {
        case HttpParser::Event::kMore:
          WEIR_CHECK(piece.empty());
          break;
        case HttpParser::Event::kHead: {
          const HttpHead& head = parser.head();
          size_t bytes = head.method.size() + head.path.size();
          seen += head.method + " " + head.path + (head.keep_alive ? " k" : " c") +
                  (head.expects_continue ? "e" : "") +
                  (head.content_length.has_value() ? std::to_string(*head.content_length) : "?");
          for (const auto& [name, value] : head.headers) {
            bytes += name.size() + value.size();
            seen += "|" + name + ":" + value;
          }
          WEIR_CHECK(bytes <= kLimits.max_head_bytes);
          WEIR_CHECK(head.content_length.value_or(0) <= kLimits.max_body_bytes);
          continue;
        }
        case HttpParser::Event::kDone: {
          const std::string body = parser.TakeBody();
          WEIR_CHECK(static_cast<int64_t>(body.size()) <= kLimits.max_body_bytes);
          seen += "\n" + body + "\n";
          WEIR_CHECK(!parser.within_request());
          continue;
        }
        case HttpParser::Event::kFailed:
          WEIR_CHECK(parser.error().http_status >= 400 && !parser.error().message.empty());
          return seen + "!" + std::to_string(parser.error().http_status);
      }
      WEIR_CHECK(piece.size() <= before);
      break;
    }
  }
  return seen + (parser.within_request() ? "..." : "");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::string whole = Understood(input, input.size() + 1);
  WEIR_CHECK(Understood(input, 1) == whole);
  WEIR_CHECK(Understood(input, 7) == whole);
  return 0;
}
