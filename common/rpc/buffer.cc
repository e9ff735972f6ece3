#include "common/rpc/buffer.h"

#include <google/protobuf/io/zero_copy_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <grpcpp/support/proto_buffer_reader.h>
#include <grpcpp/support/proto_buffer_writer.h>

#include <algorithm>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/check.h"
#include "common/base/strings.h"
#include "common/rpc/error.h"
#include "common/rpc/inflate.h"

namespace weir::rpc {
namespace {

constexpr int kWriterBlockBytes = 64 << 10;
constexpr int kInflateBlockBytes = 64 << 10;

// Inflates gzip bytes block by block as protobuf asks for them, so a bomb costs
// one block, not what it claims to be.
class InflatingStream final : public google::protobuf::io::ZeroCopyInputStream {
 public:
  InflatingStream(google::protobuf::io::ZeroCopyInputStream* source, int64_t max_bytes)
      : source_(source), max_bytes_(max_bytes), block_(kInflateBlockBytes) {}

  bool Next(const void** data, int* size) override {
    if (returned_ == 0 && !FillBlock()) return false;
    if (returned_ == 0) returned_ = filled_;
    *data = block_.data() + (filled_ - returned_);
    *size = std::exchange(returned_, 0);
    return true;
  }
  void BackUp(int count) override { returned_ = count; }
  bool Skip(int count) override {
    const void* data;
    int size;
    while (count > 0 && Next(&data, &size)) {
      if (size > count) BackUp(size - count);
      count -= std::min(count, size);
    }
    return count == 0;
  }
  int64_t ByteCount() const override { return total_ - returned_; }

  // Whether the whole of one gzip member was read and nothing follows it.
  bool complete() const { return inflater_.ended() && !too_large_ && input_.empty(); }
  bool too_large() const { return too_large_; }

 private:
  // Returns false when there is no more, or must not be.
  bool FillBlock() {
    filled_ = 0;
    while (filled_ == 0 && !inflater_.ended() && !inflater_.damaged()) {
      const void* data;
      int size;
      if (input_.empty()) {
        if (!source_->Next(&data, &size)) return false;  // the end came before gzip's own
        input_ = {static_cast<const char*>(data), static_cast<size_t>(size)};
      }
      filled_ = static_cast<int>(inflater_.Inflate(&input_, block_.data(), block_.size()));
    }
    total_ += filled_;
    too_large_ = total_ > max_bytes_;
    return filled_ > 0 && !too_large_ && !inflater_.damaged();
  }

  google::protobuf::io::ZeroCopyInputStream* const source_;
  const int64_t max_bytes_;
  Inflater inflater_;
  std::string_view input_;  // what source_ gave and is not read yet
  std::vector<char> block_;
  int filled_ = 0;
  int returned_ = 0;
  int64_t total_ = 0;
  bool too_large_ = false;
};

bool Compressed(grpc::ByteBuffer* buffer) {
  grpc::ProtoBufferReader reader(buffer);
  std::string head;
  const void* data;
  int size;
  while (head.size() < 2 && reader.Next(&data, &size)) {
    head.append(static_cast<const char*>(data), std::min(size, 2));
  }
  return LooksLikeGzip(head);
}

absl::Status Undecodable(const google::protobuf::MessageLite& message) {
  return Error(absl::StatusCode::kInvalidArgument, v1::UNDECODABLE,
               StrCat("the message is not a valid ", message.GetTypeName()));
}

}  // namespace

grpc::ByteBuffer ToBuffer(const google::protobuf::MessageLite& message) {
  const size_t size = message.ByteSizeLong();
  WEIR_CHECK(size <= std::numeric_limits<int>::max());
  if (size <= kWriterBlockBytes) {
    grpc::Slice slice(size);
    message.SerializeWithCachedSizesToArray(const_cast<uint8_t*>(slice.begin()));
    return grpc::ByteBuffer(&slice, 1);
  }
  grpc::ByteBuffer buffer;
  grpc::ProtoBufferWriter writer(&buffer, kWriterBlockBytes, static_cast<int>(size));
  WEIR_CHECK(message.SerializeToZeroCopyStream(&writer));
  return buffer;
}

absl::Status ReadPlain(const grpc::ByteBuffer& buffer, std::string* out, int64_t max_bytes) {
  out->clear();
  auto* source = const_cast<grpc::ByteBuffer*>(&buffer);
  if (!source->Valid()) return absl::OkStatus();
  if (static_cast<int64_t>(source->Length()) > max_bytes) return MessageTooLarge(max_bytes);
  const bool compressed = Compressed(source);
  std::string gzip;
  std::string* const plain = compressed ? &gzip : out;
  plain->reserve(source->Length());
  grpc::ProtoBufferReader reader(source);
  const void* data;
  int size;
  while (reader.Next(&data, &size)) {
    plain->append(static_cast<const char*>(data), static_cast<size_t>(size));
  }
  return compressed ? InflateGzip(gzip, max_bytes, out) : absl::OkStatus();
}

absl::Status ParsePlain(std::string_view bytes, google::protobuf::MessageLite* message) {
  return message->ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))
             ? absl::OkStatus()
             : Undecodable(*message);
}

absl::Status Parse(const grpc::ByteBuffer& buffer, google::protobuf::MessageLite* message,
                   int64_t max_bytes) {
  // The reader's constructor takes a pointer but only reads.
  auto* source = const_cast<grpc::ByteBuffer*>(&buffer);
  if (!source->Valid()) {
    message->Clear();
    return Undecodable(*message);
  }
  if (static_cast<int64_t>(source->Length()) > max_bytes) return MessageTooLarge(max_bytes);
  const bool compressed = Compressed(source);
  grpc::ProtoBufferReader reader(source);
  if (!compressed) {
    return message->ParseFromZeroCopyStream(&reader) ? absl::OkStatus() : Undecodable(*message);
  }
  InflatingStream inflating(&reader, max_bytes);
  const bool parsed = message->ParseFromZeroCopyStream(&inflating);
  if (inflating.too_large()) return MessageTooLarge(max_bytes);
  return parsed && inflating.complete() ? absl::OkStatus() : Undecodable(*message);
}

}  // namespace weir::rpc
