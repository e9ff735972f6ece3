// The server's side of hot bidirectional streams: raw byte buffers on
// completion queues, one event loop per thread. (Measured against the callback
// API: two to three times the throughput, a third of the CPU.)
//
// A service derives one StreamHandler per stream and talks back through its
// ServerStream. The framework keeps gRPC's rules (one read and one write
// outstanding, Finish once, tags alive until delivered), so that neither side
// of a service can break them.
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/status.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "common/rpc/event_loop.h"

namespace grpc {
template <class W, class R>
class ServerAsyncReaderWriter;
class ServerContext;
class ServerCompletionQueue;
}  // namespace grpc

namespace weir::rpc {

// Initial metadata that a server sends at once when it accepts a stream. gRPC's
// client cannot tell empty initial metadata from a call that has failed.
inline constexpr std::string_view kAcceptedMetadata = "weir-accepted";

// One stream as its handler sees it. Shared, because threads that answer later
// (a WAL writer, a flush) hold on to it; it outlives its call, and is then
// closed and harmless.
//
// Thread safety: thread-safe. Abstract, so that tests of services need no
// network.
class ServerStream {
 public:
  virtual ~ServerStream() = default;

  // Queues `message`. Returns false, and drops it, when the stream is closed or
  // finished, or when the messages queued exceed RawStreamOptions'
  // max_queued_bytes: the client does not read, and a stream that cannot say
  // what it must has only Finish or Cancel left. A queue that is empty takes
  // one message of any size.
  virtual bool Write(grpc::ByteBuffer message) = 0;

  // Ends the stream with `status`, after the messages queued. Only the first
  // call counts. The handler gets no further OnMessage; OnClose follows.
  virtual void Finish(grpc::Status status) = 0;

  // Goes on reading after OnMessage returned false. May be called before that
  // return: it is then as if OnMessage had returned true.
  virtual void ResumeReads() = 0;

  // Ends the stream without regard to what is queued; the client sees CANCELLED.
  virtual void Cancel() = 0;

  // Bytes accepted by Write and not yet taken by gRPC.
  virtual int64_t queued_bytes() const = 0;

  // The client's address as gRPC spells it: "ipv4:127.0.0.1:53246", "unix:".
  virtual std::string peer() const = 0;

  // The first value of the client's metadata `key` (lower case).
  virtual std::optional<std::string> metadata(std::string_view key) const = 0;

  // The loop whose thread runs this stream's handler.
  virtual EventLoop& loop() = 0;
};

// What a service does with one stream. All calls come on the stream's loop, one
// at a time; they must not block, and hand long work to a queue.
class StreamHandler {
 public:
  // Destroyed on the loop, after OnClose.
  virtual ~StreamHandler() = default;

  // A message has come; it may be moved from. Returns whether to read on; false
  // pauses, which is the back-pressure on this client, until
  // ServerStream::ResumeReads().
  virtual bool OnMessage(grpc::ByteBuffer& message) = 0;

  // The client sends no more: it has half-closed (answer what is pending, then
  // Finish), or its connection is gone (OnClose follows). Called at most once;
  // not after Finish.
  virtual void OnReadsDone() = 0;

  // The stream is over: Write returns false from now on. Exactly once, last.
  virtual void OnClose() = 0;
};

// Makes the handler of a stream that has just begun; runs on its loop. The
// handler may keep the pointer: the cycle is cut after OnClose. A null handler
// refuses the stream; the factory should have called Finish with the reason.
using StreamHandlerFactory =
    std::function<std::unique_ptr<StreamHandler>(std::shared_ptr<ServerStream>)>;

using RawServerStream = grpc::ServerAsyncReaderWriter<grpc::ByteBuffer, grpc::ByteBuffer>;

// Waits for one call of the method; what a generated mixin declares:
//
//   class Service : public v1::IngestService::WithRawMethod_StreamBatches<
//                       v1::IngestService::WithRawCallbackMethod_Push<v1::IngestService::Service>>
//   ...
//   [&](auto... arguments) { service.RequestStreamBatches(arguments...); }
using RequestStream =
    std::function<void(grpc::ServerContext*, RawServerStream*, grpc::CompletionQueue*,
                       grpc::ServerCompletionQueue*, void* tag)>;

struct RawStreamOptions {
  // Loops, each with its thread; a stream stays on the loop it began on.
  int threads = 1;
  // What a client that does not read may make one stream hold.
  int64_t max_queued_bytes = int64_t{16} << 20;
  // Open streams of this method, over all connections; more are refused with
  // UNAVAILABLE, OVERLOADED and a delay.
  int max_open_streams = 4096;
};

}  // namespace weir::rpc
