#include "common/rpc/buffer.h"

#include <google/protobuf/io/zero_copy_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <grpcpp/support/proto_buffer_reader.h>
#include <grpcpp/support/proto_buffer_writer.h>
#include <zlib.h>

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "common/base/check.h"
#include "common/base/strings.h"
#include "common/rpc/error.h"

namespace weir::rpc {
namespace {

constexpr int kWriterBlockBytes = 64 << 10;
constexpr int kInflateBlockBytes = 64 << 10;

enum class Outcome { kParsed, kUndecodable, kTooLarge };

// Inflates gzip bytes block by block as protobuf asks for them, so a bomb costs
// one block, not what it claims to be.
class InflatingStream final : public google::protobuf::io::ZeroCopyInputStream {
 public:
  InflatingStream(google::protobuf::io::ZeroCopyInputStream* source, int64_t max_bytes)
      : source_(source), max_bytes_(max_bytes), block_(kInflateBlockBytes) {
    constexpr int kGzipOnly = 16;
    WEIR_CHECK(inflateInit2(&zlib_, kGzipOnly + MAX_WBITS) == Z_OK);
  }
  ~InflatingStream() override { inflateEnd(&zlib_); }

  bool Next(const void** data, int* size) override {
    if (returned_ > 0) {
      *data = block_.data() + (filled_ - returned_);
      *size = returned_;
      returned_ = 0;
      return true;
    }
    filled_ = 0;
    while (filled_ == 0 && !ended_ && !failed_) Inflate();
    total_ += filled_;
    if (total_ > max_bytes_) too_large_ = true;
    if (filled_ == 0 || too_large_ || failed_) return false;
    *data = block_.data();
    *size = filled_;
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
  bool complete() const { return ended_ && !failed_ && !too_large_ && zlib_.avail_in == 0; }
  bool too_large() const { return too_large_; }

 private:
  void Inflate() {
    if (zlib_.avail_in == 0) {
      const void* data;
      int size = 0;
      while (size == 0) {
        if (!source_->Next(&data, &size)) {
          failed_ = true;  // the end came before gzip's own
          return;
        }
      }
      zlib_.next_in = const_cast<Bytef*>(static_cast<const Bytef*>(data));
      zlib_.avail_in = static_cast<uInt>(size);
    }
    zlib_.next_out = reinterpret_cast<Bytef*>(block_.data());
    zlib_.avail_out = static_cast<uInt>(block_.size());
    const int result = inflate(&zlib_, Z_NO_FLUSH);
    filled_ = static_cast<int>(block_.size() - zlib_.avail_out);
    if (result == Z_STREAM_END) {
      ended_ = true;
    } else if (result != Z_OK && result != Z_BUF_ERROR) {
      failed_ = true;
    }
  }

  google::protobuf::io::ZeroCopyInputStream* const source_;
  const int64_t max_bytes_;
  std::vector<char> block_;
  z_stream zlib_ = {};
  int filled_ = 0;
  int returned_ = 0;
  int64_t total_ = 0;
  bool ended_ = false;
  bool failed_ = false;
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
  return head.size() >= 2 && head[0] == '\x1f' && head[1] == '\x8b';
}

Outcome ParseInto(const grpc::ByteBuffer& buffer, google::protobuf::MessageLite* message,
                  int64_t max_bytes) {
  // The reader's constructor takes a pointer but only reads.
  auto* source = const_cast<grpc::ByteBuffer*>(&buffer);
  if (!source->Valid()) {
    message->Clear();
    return Outcome::kUndecodable;
  }
  if (static_cast<int64_t>(source->Length()) > max_bytes) return Outcome::kTooLarge;
  const bool compressed = Compressed(source);
  grpc::ProtoBufferReader reader(source);
  if (!compressed) {
    return message->ParseFromZeroCopyStream(&reader) ? Outcome::kParsed : Outcome::kUndecodable;
  }
  InflatingStream inflating(&reader, max_bytes);
  const bool parsed = message->ParseFromZeroCopyStream(&inflating);
  if (inflating.too_large()) return Outcome::kTooLarge;
  return parsed && inflating.complete() ? Outcome::kParsed : Outcome::kUndecodable;
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

bool ParseBuffer(const grpc::ByteBuffer& buffer, google::protobuf::MessageLite* message,
                 int64_t max_bytes) {
  return ParseInto(buffer, message, max_bytes) == Outcome::kParsed;
}

absl::Status Parse(const grpc::ByteBuffer& buffer, google::protobuf::MessageLite* message,
                   int64_t max_bytes) {
  switch (ParseInto(buffer, message, max_bytes)) {
    case Outcome::kParsed:
      return absl::OkStatus();
    case Outcome::kTooLarge:
      return Error(absl::StatusCode::kResourceExhausted, v1::MESSAGE_TOO_LARGE,
                   StrCat("the message holds more than ", max_bytes, " bytes"),
                   {{"limit_bytes", StrCat(max_bytes)}});
    case Outcome::kUndecodable:
      break;
  }
  return Error(absl::StatusCode::kInvalidArgument, v1::UNDECODABLE,
               StrCat("the message is not a valid ", message->GetTypeName()));
}

}  // namespace weir::rpc
