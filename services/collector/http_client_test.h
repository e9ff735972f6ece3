// A client for the tests of what this folder serves over HTTP.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/numbers.h"
#include "common/base/strings.h"

namespace weir::collector::test {

// One connection, blocking.
class HttpClient {
 public:
  struct Response {
    int status = 0;  // 0: the connection ended
    std::string head;
    std::string body;
  };

  HttpClient(const std::string& address, std::string path)
      : path_(std::move(path)), fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    int port = 0;
    EXPECT_TRUE(absl::SimpleAtoi(address.substr(address.rfind(':') + 1), &port));
    sockaddr_in name = {};
    name.sin_family = AF_INET;
    name.sin_port = htons(static_cast<uint16_t>(port));
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(fd_, reinterpret_cast<sockaddr*>(&name), sizeof name), 0);
    const timeval patience = {.tv_sec = 20, .tv_usec = 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  }
  ~HttpClient() { ::close(fd_); }

  void Send(std::string_view text) {
    while (!text.empty()) {
      const ssize_t sent = ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;
      text.remove_prefix(static_cast<size_t>(sent));
    }
  }
  void Post(std::string_view body, std::string_view type, std::string_view more_headers = "") {
    Send(StrCat("POST ", path_, " HTTP/1.1\r\nHost: h\r\nContent-Type: ", type, "\r\n",
                more_headers, "Content-Length: ", body.size(), "\r\n\r\n", body));
  }

  Response Read() {
    Response response;
    size_t end;
    while ((end = received_.find("\r\n\r\n")) == std::string::npos) {
      if (!ReadMore()) return response;
    }
    response.head = received_.substr(0, end + 2);
    received_.erase(0, end + 4);
    int length = 0;
    const size_t at = response.head.find("Content-Length: ");
    if (at != std::string::npos) {
      EXPECT_TRUE(absl::SimpleAtoi(
          response.head.substr(at + 16, response.head.find('\r', at) - at - 16), &length));
    }
    while (received_.size() < static_cast<size_t>(length)) {
      if (!ReadMore()) return {};
    }
    response.body = received_.substr(0, static_cast<size_t>(length));
    received_.erase(0, static_cast<size_t>(length));
    EXPECT_TRUE(absl::SimpleAtoi(response.head.substr(9, 3), &response.status));
    return response;
  }
  // Whether the server ended the connection, with nothing more to say.
  bool Ended() { return received_.empty() && !ReadMore(); }

 private:
  bool ReadMore() {
    char buffer[4096];
    const ssize_t size = ::recv(fd_, buffer, sizeof buffer, 0);
    if (size > 0) received_.append(buffer, static_cast<size_t>(size));
    return size > 0;
  }

  const std::string path_;
  const int fd_;
  std::string received_;
};

}  // namespace weir::collector::test
