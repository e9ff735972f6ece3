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
class PendingAnswer {
 public:
  virtual ~PendingAnswer() = default;
  // Keeps `answer` for OnAcked; returns the number to wait under.
  virtual uint64_t AwaitAck(const google::protobuf::MessageLite& answer) = 0;
  virtual void Answer(const google::protobuf::MessageLite& answer) = 0;
  virtual void Fail(const absl::Status& status) = 0;
};

}  // namespace weir::collector
