#include "common/base/crc32c.h"

#include <isa-l/crc.h>

#include <algorithm>

namespace weir {

uint32_t Crc32c(std::string_view bytes, uint32_t before) {
  // ISA-L takes an int length and neither inverts before nor after.
  constexpr size_t kMostBytes = size_t{1} << 30;
  uint32_t state = ~before;
  while (!bytes.empty()) {
    const size_t length = std::min(bytes.size(), kMostBytes);
    auto* data = reinterpret_cast<unsigned char*>(const_cast<char*>(bytes.data()));
    state = crc32_iscsi(data, static_cast<int>(length), state);
    bytes.remove_prefix(length);
  }
  return ~state;
}

}  // namespace weir
