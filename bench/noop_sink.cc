// The least a server of StreamBatches can do: read each message, acknowledge it,
// and nothing else. What the pipeline costs is told as a multiple of this.
//
//   weir-bench-noop-sink [--listen=127.0.0.1:0]
//
// It is what gRPC itself costs on the path that weir uses, which is the cheapest
// gRPC has: asynchronous completion queue, raw byte buffers, one thread. Of a
// batch only the sequence is looked at, because an acknowledgement needs it. An
// acknowledgement covers everything read since the last one was written, as the
// collector's do: a server that wrote one a message would be dearer, and flatter
// whoever is compared with it.
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/bytes.h"
#include "common/rpc/stream_server.h"
#include "weir/v1/ingest_service.grpc.pb.h"
#include "weir/v1/ingest_service.pb.h"

namespace weir {
namespace {

using RawService = v1::IngestService::WithRawMethod_StreamBatches<v1::IngestService::Service>;

// The two numbers of StreamBatchesRequest's encoding this program knows.
constexpr char kBatchTag = 2 << 3 | 2;
constexpr char kSequenceTag = 1 << 3 | 0;

// The sequence of a batch; 0 for any other message. protobuf writes fields in
// the order of their numbers, so it is in the first bytes, whichever slices they
// lie in.
int64_t SequenceOf(const grpc::ByteBuffer& message) {
  std::vector<grpc::Slice> slices;
  if (!message.Dump(&slices).ok()) return 0;
  char head[32];
  size_t size = 0;
  for (const grpc::Slice& slice : slices) {
    const size_t length = std::min(slice.size(), sizeof head - size);
    std::memcpy(head + size, slice.begin(), length);
    size += length;
    if (size == sizeof head) break;
  }
  ByteReader reader(std::string_view(head, size));
  if (reader.Fixed<char>() != kBatchTag) return 0;
  reader.Varint();
  if (reader.Fixed<char>() != kSequenceTag) return 0;
  return static_cast<int64_t>(reader.Varint());
}

grpc::ByteBuffer Encode(const v1::StreamBatchesResponse& response) {
  const std::string bytes = response.SerializeAsString();
  const grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

class Sink {
 public:
  explicit Sink(const std::string& address) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port_);
    builder.SetMaxReceiveMessageSize(64 << 20);
    builder.RegisterService(&service_);
    queue_ = builder.AddCompletionQueue();
    server_ = builder.BuildAndStart();
  }

  // 0 when the address could not be bound.
  int port() const { return server_ == nullptr ? 0 : port_; }

  void Run() {
    new Stream(*this);
    void* tag;
    bool ok;
    while (queue_->Next(&tag, &ok)) static_cast<Operation*>(tag)->Complete(ok);
  }

 private:
  class Stream;

  // One operation that a stream may have in flight; its address is the tag.
  struct Operation {
    Stream* stream;
    void (Stream::*done)(bool ok);
    void Complete(bool ok) { (stream->*done)(ok); }
  };

  class Stream {
   public:
    explicit Stream(Sink& sink) : sink_(sink), rpc_(&context_) {
      ++in_flight_;
      sink_.service_.RequestStreamBatches(&context_, &rpc_, sink_.queue_.get(), sink_.queue_.get(),
                                          &accepted_);
    }

   private:
    void OnAccepted(bool ok) {
      --in_flight_;
      if (!ok) {
        delete this;
        return;
      }
      new Stream(sink_);
      ++in_flight_;
      // What rpc::StreamClient takes for a connection.
      context_.AddInitialMetadata(std::string(rpc::kAcceptedMetadata), "1");
      rpc_.SendInitialMetadata(&metadata_);
    }

    void OnMetadata(bool ok) {
      --in_flight_;
      if (ok) {
        Read();
      } else {
        End();
      }
    }

    void Read() {
      ++in_flight_;
      rpc_.Read(&message_, &read_);
    }

    void OnRead(bool ok) {
      --in_flight_;
      if (!ok) {
        End();
        return;
      }
      const int64_t sequence = SequenceOf(message_);
      if (sequence > 0) {
        last_read_ = sequence;
      } else {
        opened_ = true;
      }
      Answer();
      Read();
    }

    void OnWritten(bool ok) {
      --in_flight_;
      writing_ = false;
      if (ok && !ended_) {
        Answer();
      } else {
        End();
      }
    }

    void Answer() {
      if (writing_ || ended_) return;
      v1::StreamBatchesResponse response;
      if (opened_) {
        opened_ = false;
        response.mutable_session_opened()->set_max_message_bytes(64 << 20);
      } else if (last_read_ > last_acked_) {
        last_acked_ = last_read_;
        response.mutable_batches_acked()->set_sequence(last_acked_);
      } else {
        return;
      }
      writing_ = true;
      ++in_flight_;
      rpc_.Write(Encode(response), &written_);
    }

    // The client has gone or half-closed; the stream goes when nothing of it is
    // in flight.
    void End() {
      if (!ended_) {
        ended_ = true;
        ++in_flight_;
        rpc_.Finish(grpc::Status::OK, &finished_);
      } else if (in_flight_ == 0) {
        delete this;
      }
    }

    void OnFinished(bool) {
      --in_flight_;
      if (in_flight_ == 0) delete this;
    }

    Sink& sink_;
    grpc::ServerContext context_;
    grpc::ServerAsyncReaderWriter<grpc::ByteBuffer, grpc::ByteBuffer> rpc_;
    grpc::ByteBuffer message_;
    int64_t last_read_ = 0;
    int64_t last_acked_ = 0;
    bool opened_ = false;
    bool writing_ = false;
    bool ended_ = false;
    int in_flight_ = 0;
    Operation accepted_{this, &Stream::OnAccepted};
    Operation metadata_{this, &Stream::OnMetadata};
    Operation read_{this, &Stream::OnRead};
    Operation written_{this, &Stream::OnWritten};
    Operation finished_{this, &Stream::OnFinished};
  };

  RawService service_;
  int port_ = 0;
  std::unique_ptr<grpc::ServerCompletionQueue> queue_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace
}  // namespace weir

int main(int argc, char** argv) {
  std::string address = "127.0.0.1:0";
  constexpr std::string_view kListen = "--listen=";
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument.substr(0, kListen.size()) != kListen) {
      std::fprintf(stderr, "usage: weir-bench-noop-sink [--listen=127.0.0.1:0]\n");
      return 2;
    }
    address = argument.substr(kListen.size());
  }
  weir::Sink sink(address);
  if (sink.port() == 0) {
    std::fprintf(stderr, "msg=\"cannot listen\" address=%s\n", address.c_str());
    return 1;
  }
  std::fprintf(stderr, "msg=serving address=127.0.0.1:%d\n", sink.port());
  sink.Run();
  return 0;
}
