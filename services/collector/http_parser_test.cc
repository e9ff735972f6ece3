#include "services/collector/http_parser.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace weir::collector {
namespace {

using Event = HttpParser::Event;

constexpr HttpParser::Limits kLimits = {.max_head_bytes = 1024, .max_body_bytes = 100};

// Feeds everything, in pieces of `piece` bytes, up to the end or a failure.
Event FeedAll(HttpParser* parser, std::string_view text, size_t piece = 1 << 20) {
  Event last = Event::kMore;
  while (!text.empty() && last != Event::kDone && last != Event::kFailed) {
    std::string_view part = text.substr(0, piece);
    const size_t given = part.size();
    last = parser->Feed(&part);
    text.remove_prefix(given - part.size());
  }
  // The head's event comes before that of a body of no bytes.
  return last == Event::kHead ? parser->Feed(&text) : last;
}

int FailureOf(std::string_view text) {
  HttpParser parser(kLimits);
  return FeedAll(&parser, text) == Event::kFailed ? parser.error().http_status : 0;
}

constexpr std::string_view kPost =
    "POST /v1/metrics?x=1 HTTP/1.1\r\nHost: h\r\nContent-Type:  a/b \r\ncontent-length: 5\r\n\r\n"
    "hello";
constexpr std::string_view kChunked =
    "POST /v1/metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    "5;ignored=1\r\nhello\r\nA\r\n, my world\r\n0\r\nTrailer: t\r\n\r\n";

TEST(HttpParserTest, ARequestIsReadInPiecesOfAnySize) {
  for (const size_t piece : {1u, 2u, 3u, 7u, 64u, 1000u}) {
    HttpParser parser(kLimits);
    EXPECT_FALSE(parser.within_request());
    ASSERT_EQ(FeedAll(&parser, kPost, piece), Event::kDone);
    EXPECT_TRUE(parser.within_request());
    EXPECT_EQ(parser.head().method, "POST");
    EXPECT_EQ(parser.head().path, "/v1/metrics");
    EXPECT_EQ(parser.head().header("content-type"), "a/b");
    EXPECT_EQ(parser.head().header("content-encoding"), "");
    EXPECT_TRUE(parser.head().keep_alive);
    EXPECT_EQ(parser.TakeBody(), "hello");
    EXPECT_FALSE(parser.within_request());
    ASSERT_EQ(FeedAll(&parser, kChunked, piece), Event::kDone);
    EXPECT_EQ(parser.TakeBody(), "hello, my world");
  }
}

TEST(HttpParserTest, OneInputMayHoldSeveralRequests) {
  const std::string text = std::string(kPost) + std::string(kChunked) + "GET / HTTP/1.0\r\n\r\n";
  std::string_view input = text;
  HttpParser parser(kLimits);
  ASSERT_EQ(parser.Feed(&input), Event::kHead);
  ASSERT_EQ(parser.Feed(&input), Event::kDone);
  ASSERT_EQ(parser.Feed(&input), Event::kDone);  // until it is taken
  EXPECT_EQ(parser.TakeBody(), "hello");
  ASSERT_EQ(parser.Feed(&input), Event::kHead);
  ASSERT_EQ(parser.Feed(&input), Event::kDone);
  EXPECT_EQ(parser.TakeBody(), "hello, my world");
  ASSERT_EQ(parser.Feed(&input), Event::kHead);
  EXPECT_FALSE(parser.head().keep_alive);
  ASSERT_EQ(parser.Feed(&input), Event::kDone);
  EXPECT_EQ(parser.TakeBody(), "");
  EXPECT_TRUE(input.empty());
}

TEST(HttpParserTest, AProxysUrlIsItsPath) {
  HttpParser parser(kLimits);
  ASSERT_EQ(FeedAll(&parser, "POST http://host:1/a/b?c HTTP/1.1\r\nConnection: x, CLOSE\r\n\r\n"),
            Event::kDone);
  EXPECT_EQ(parser.head().path, "/a/b");
  EXPECT_FALSE(parser.head().keep_alive);
}

TEST(HttpParserTest, WhatIsNotHttpIsRefused) {
  EXPECT_EQ(FailureOf("hello\r\n"), 400);
  EXPECT_EQ(FailureOf("\x16\x03\x01\x02\r\n"), 400);  // TLS
  EXPECT_EQ(FailureOf("PRI * HTTP/2.0\r\n"), 505);
  EXPECT_EQ(FailureOf("GET / HTTP/1.1\n"), 400);
  EXPECT_EQ(FailureOf("G@T / HTTP/1.1\r\n"), 400);
  EXPECT_EQ(FailureOf("GET /a b HTTP/1.1\r\n"), 400);
  EXPECT_EQ(FailureOf("GET / HTTP/1.1\r\nno colon\r\n\r\n"), 400);
  EXPECT_EQ(FailureOf("GET / HTTP/1.1\r\na: b\r\n folded\r\n\r\n"), 400);
  EXPECT_EQ(FailureOf("GET / HTTP/1.1\r\nExpect: magic\r\n\r\n"), 417);
}

TEST(HttpParserTest, LengthsThatCanBeUnderstoodInTwoWaysAreRefused) {
  const auto post = [](std::string_view headers) {
    return FailureOf("POST / HTTP/1.1\r\n" + std::string(headers) + "\r\n\r\n");
  };
  EXPECT_EQ(post("Content-Length: 1\r\nContent-Length: 1"), 400);
  EXPECT_EQ(post("Content-Length: 1\r\nTransfer-Encoding: chunked"), 400);
  EXPECT_EQ(post("Content-Length : 1"), 400);
  EXPECT_EQ(post("Content-Length: -1"), 400);
  EXPECT_EQ(post("Content-Length: +1"), 400);
  EXPECT_EQ(post("Content-Length: 1, 1"), 400);
  EXPECT_EQ(post("Content-Length:"), 400);
  EXPECT_EQ(post("Transfer-Encoding: gzip, chunked"), 501);
  EXPECT_EQ(post("Transfer-Encoding: chunked\r\n\r\n-1"), 400);
  EXPECT_EQ(post("Transfer-Encoding: chunked\r\n\r\n0x1"), 400);
  EXPECT_EQ(post("Transfer-Encoding: chunked\r\n\r\n1\r\nabc"), 400);
}

TEST(HttpParserTest, EverythingHasALimit) {
  const std::string length = "POST / HTTP/1.1\r\nContent-Length: ";
  EXPECT_EQ(FailureOf(length + "100\r\n\r\n"), 0);
  EXPECT_EQ(FailureOf(length + "101\r\n\r\n"), 413);
  EXPECT_EQ(FailureOf(length + "99999999999999999999\r\n\r\n"), 413);
  const std::string chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
  EXPECT_EQ(FailureOf(chunked + "65\r\n"), 413);
  EXPECT_EQ(FailureOf(chunked + "ffffffffffffffffffff\r\n"), 413);
  EXPECT_EQ(FailureOf(chunked + "32\r\n" + std::string(50, 'a') + "\r\n33\r\n"), 413);
  EXPECT_EQ(FailureOf(chunked + std::string(1100, '0')), 431);
  EXPECT_EQ(FailureOf(std::string(1100, 'A')), 431);
  std::string many = "GET / HTTP/1.1\r\n";
  for (int i = 0; i < 300; ++i) many += "a: b\r\n";
  EXPECT_EQ(FailureOf(many), 431);
}

TEST(HttpParserTest, ALengthThatIsOnlyClaimedCostsNothing) {
  HttpParser parser({.max_body_bytes = int64_t{64} << 20});
  std::string_view input = "POST / HTTP/1.1\r\nContent-Length: 60000000\r\n\r\nabc";
  ASSERT_EQ(parser.Feed(&input), Event::kHead);
  ASSERT_EQ(parser.Feed(&input), Event::kMore);
  EXPECT_LE(parser.body_bytes(), 70'000);
}

}  // namespace
}  // namespace weir::collector
