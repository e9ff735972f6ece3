// CRC-32C (Castagnoli, RFC 3720 B.4), with the machine's instructions where it
// has them (ISA-L decides at run time).
#pragma once

#include <cstdint>
#include <string_view>

namespace weir {

// Returns the checksum of `bytes` appended to data whose checksum is `before`
// (0 for none): Crc32c("123456789") is 0xe3069283.
uint32_t Crc32c(std::string_view bytes, uint32_t before = 0);

}  // namespace weir
