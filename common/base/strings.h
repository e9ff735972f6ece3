// StrCat and StrAppend that take std::string_view.
//
// Debian 12 builds Abseil with a string_view of its own, to which ours does not
// convert; later releases use the standard's. We say std::string_view everywhere
// and convert here, where a call goes into Abseil or comes out of it.
//
// Thread safety: pure functions.
#pragma once

#include <string>
#include <string_view>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace weir {

// For calls into Abseil (SimpleAtoi, StrSplit, absl::InternalError, ...).
inline absl::string_view AbslView(std::string_view text) { return {text.data(), text.size()}; }
// For what comes out of it (status.message(), ...).
inline std::string_view StdView(absl::string_view text) { return {text.data(), text.size()}; }

namespace internal {
template <typename T>
decltype(auto) AbslPiece(const T& piece) {
  if constexpr (std::is_same_v<T, std::string_view>) {
    return AbslView(piece);
  } else {
    return (piece);
  }
}
}  // namespace internal

// As absl::StrCat.
template <typename... Pieces>
std::string StrCat(const Pieces&... pieces) {
  return absl::StrCat(internal::AbslPiece(pieces)...);
}

// As absl::StrAppend.
template <typename... Pieces>
void StrAppend(std::string* out, const Pieces&... pieces) {
  absl::StrAppend(out, internal::AbslPiece(pieces)...);
}

}  // namespace weir
