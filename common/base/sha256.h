// SHA-256, for names that must not collide.
#pragma once

#include <string>
#include <string_view>

namespace weir {

// 32 bytes.
std::string Sha256(std::string_view bytes);

}  // namespace weir
