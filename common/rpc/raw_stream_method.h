// One raw method of a server: its loops, the call each of them waits for, and
// the streams that are open. Part of Server; services see stream_server.h.
//
// Thread safety: Drain and FinishAll are thread-safe; the rest belongs to the
// server's owner.
#pragma once

#include <grpcpp/completion_queue.h>

#include <memory>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "common/base/mutex.h"
#include "common/rpc/event_loop.h"
#include "common/rpc/stream_server.h"

namespace weir::rpc {

class RawStreamMethod {
 public:
  RawStreamMethod(RawStreamOptions options, RequestStream request, StreamHandlerFactory factory,
                  std::vector<std::unique_ptr<grpc::ServerCompletionQueue>> queues);
  ~RawStreamMethod();

  EventLoop& first_loop() { return *loops_[0].loop; }

  // Starts the loops and waits for calls. REQUIRES: the server has started.
  void Start();
  // Refuses streams from now on.
  void Drain();
  // Finishes every open stream. REQUIRES: drained.
  void FinishAll(const grpc::Status& status);
  // Waits until every stream is closed, and joins the loops.
  // REQUIRES: the server has been shut down, or was never started.
  void Join();

 private:
  class Stream;
  struct Loop {
    grpc::ServerCompletionQueue* queue;  // the loop's own
    std::unique_ptr<EventLoop> loop;
  };

  void Accept(Loop& loop);
  // Counts a stream that has just begun. Returns why it may not go on, if so.
  absl::Status Admit();
  // The last word of a stream, or of a call that never came.
  void Remove(Stream* stream, bool open);

  // Constant after construction.
  const RawStreamOptions options_;
  const RequestStream request_;
  const StreamHandlerFactory factory_;
  std::vector<Loop> loops_;

  Mutex mu_;
  CondVar empty_;
  // Those open, and for each loop the one waiting for its call. Shared with
  // whoever still wants to answer.
  std::unordered_map<Stream*, std::shared_ptr<Stream>> streams_ ABSL_GUARDED_BY(mu_);
  int open_count_ ABSL_GUARDED_BY(mu_) = 0;
  bool draining_ ABSL_GUARDED_BY(mu_) = false;
};

// What calls are told while the server stops.
absl::Status ShuttingDown();

}  // namespace weir::rpc
