// The one answer a request waits for, however it is carried.
//
// Thread safety: thread-safe.
#pragma once

#include <google/protobuf/message_lite.h>

#include <cstdint>

#include "absl/status/status.h"

namespace weir::collector {

// Who is to be answered, now or when the samples are safe. One of Answer and Fail
// is called, or else OnAcked comes through the router.
template <typename Result>
class PendingAnswerOf {
 public:
  virtual ~PendingAnswerOf() = default;
  // Keeps `answer` for OnAcked; returns the number to wait under.
  virtual uint64_t AwaitAck(const Result& answer) = 0;
  virtual void Answer(const Result& answer) = 0;
  virtual void Fail(const absl::Status& status) = 0;
};

using PendingAnswer = PendingAnswerOf<google::protobuf::MessageLite>;

}  // namespace weir::collector
