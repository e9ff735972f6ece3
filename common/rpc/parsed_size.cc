#include "common/rpc/parsed_size.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

namespace weir::rpc {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::internal::WireFormatLite;

// As deep as the parser goes; what is nested deeper it refuses.
constexpr int kMaxDepth = 100;
constexpr int64_t kStringBytes = 40;   // its object and pointer
constexpr int64_t kPointerBytes = 16;  // of a repeated message, with room to grow
constexpr int64_t kUnknownBytes = 32;  // an unknown field
constexpr int64_t kElementBytes = 16;  // of a repeated number, with room to grow

// An object: its header, and eight bytes for each field; strings and repeated
// fields take more even when they are empty.
int64_t ObjectBytes(const Descriptor& message) {
  int64_t bytes = 32;
  for (int i = 0; i < message.field_count(); ++i) {
    bytes += message.field(i)->is_repeated() ? 24 : 8;
  }
  return bytes;
}

class Walker {
 public:
  explicit Walker(int64_t enough) : enough_(enough) {}

  // Returns false when it should go no further.
  bool Walk(const Descriptor& message, std::string_view bytes, int depth) {
    total_ += ObjectBytes(message);
    google::protobuf::io::CodedInputStream input(reinterpret_cast<const uint8_t*>(bytes.data()),
                                                 static_cast<int>(bytes.size()));
    while (total_ < enough_) {
      const uint32_t tag = input.ReadTag();
      if (tag == 0) return input.ConsumedEntireMessage();
      const FieldDescriptor* field =
          message.FindFieldByNumber(WireFormatLite::GetTagFieldNumber(tag));
      total_ += field == nullptr ? kUnknownBytes : field->is_repeated() ? kElementBytes : 0;
      if (WireFormatLite::GetTagWireType(tag) != WireFormatLite::WIRETYPE_LENGTH_DELIMITED) {
        if (!WireFormatLite::SkipField(&input, tag)) return false;
        continue;
      }
      uint32_t length = 0;
      if (!input.ReadVarint32(&length)) return false;
      const int at = input.CurrentPosition();
      if (length > bytes.size() - static_cast<size_t>(at)) return false;
      const std::string_view value = bytes.substr(static_cast<size_t>(at), length);
      if (field != nullptr && field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
        total_ += kPointerBytes;
        if (depth == kMaxDepth || !Walk(*field->message_type(), value, depth + 1)) return false;
      } else if (field != nullptr && field->is_packable()) {
        // Each element takes at least a byte there and at most eight here.
        total_ += 8 * static_cast<int64_t>(length);
      } else {
        total_ += kStringBytes + length;
      }
      if (!input.Skip(static_cast<int>(length))) return false;
    }
    return false;
  }

  int64_t total() const { return total_; }

 private:
  const int64_t enough_;
  int64_t total_ = 0;
};

}  // namespace

int64_t ParsedSize(const Descriptor& message, std::string_view bytes, int64_t enough) {
  Walker walker(enough);
  walker.Walk(message, bytes, 0);
  return walker.total();
}

}  // namespace weir::rpc
