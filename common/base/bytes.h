// Little-endian integers and varints in byte strings: the alphabet of every
// format of ours (WAL frames, columns, sketches).
//
// Thread safety: pure functions; a ByteReader is thread-compatible.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>

namespace weir {

static_assert(std::endian::native == std::endian::little,
              "columns are copied as they lie in memory; a big-endian build needs byte swaps here");

// Appends `value` (an integer, enum or double) in little-endian order.
template <typename T>
void AppendFixed(T value, std::string* out) {
  static_assert(std::is_trivially_copyable_v<T>);
  out->append(reinterpret_cast<const char*>(&value), sizeof value);
}

template <typename T>
T LoadFixed(const char* data) {
  static_assert(std::is_trivially_copyable_v<T>);
  T value;
  std::memcpy(&value, data, sizeof value);
  return value;
}

template <typename T>
void StoreFixed(T value, char* data) {
  std::memcpy(data, &value, sizeof value);
}

// Base-128, least significant group first, as protobuf's. 1 to 10 bytes.
inline void AppendVarint(uint64_t value, std::string* out) {
  char buffer[10];
  size_t length = 0;
  while (value >= 0x80) {
    buffer[length++] = static_cast<char>(value | 0x80);
    value >>= 7;
  }
  buffer[length++] = static_cast<char>(value);
  out->append(buffer, length);
}

// -1 becomes 1, 1 becomes 2: small magnitudes stay small.
inline uint64_t ZigZag(int64_t value) {
  return (static_cast<uint64_t>(value) << 1) ^ static_cast<uint64_t>(value >> 63);
}
inline int64_t UnZigZag(uint64_t value) {
  return static_cast<int64_t>(value >> 1) ^ -static_cast<int64_t>(value & 1);
}

// Length as a varint, then the bytes.
inline void AppendLengthPrefixed(std::string_view bytes, std::string* out) {
  AppendVarint(bytes.size(), out);
  out->append(bytes);
}

// Reads what the functions above wrote. Every read is bounded; after the first
// one that does not fit, ok() is false for good and reads return zero values,
// so a parser checks once, at its end.
class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) : rest_(bytes) {}

  bool ok() const { return ok_; }
  bool empty() const { return rest_.empty(); }
  std::string_view rest() const { return rest_; }

  template <typename T>
  T Fixed() {
    if (rest_.size() < sizeof(T)) return Fail<T>();
    const T value = LoadFixed<T>(rest_.data());
    rest_.remove_prefix(sizeof(T));
    return value;
  }

  uint64_t Varint() {
    uint64_t value = 0;
    for (size_t i = 0; i < 10 && i < rest_.size(); ++i) {
      const uint64_t group = static_cast<unsigned char>(rest_[i]);
      if (i == 9 && group > 1) break;  // would not fit 64 bits
      value |= (group & 0x7f) << (7 * i);
      if (group < 0x80) {
        rest_.remove_prefix(i + 1);
        return value;
      }
    }
    return Fail<uint64_t>();
  }

  std::string_view Bytes(uint64_t length) {
    if (rest_.size() < length) return Fail<std::string_view>();
    const std::string_view bytes = rest_.substr(0, length);
    rest_.remove_prefix(length);
    return bytes;
  }

  std::string_view LengthPrefixed() { return Bytes(Varint()); }

 private:
  template <typename T>
  T Fail() {
    ok_ = false;
    rest_ = {};
    return T{};
  }

  std::string_view rest_;
  bool ok_ = true;
};

}  // namespace weir
