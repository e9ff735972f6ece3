// JSON as the notifications write it. Only the notify_*.cc include this.
//
// Members come in a fixed order (nlohmann::json sorts them by name,
// nlohmann::ordered_json keeps that of insertion), so the same value has the same
// bytes. Bytes that are not UTF-8 become U+FFFD, numbers that are not finite null.
// Protobuf's JSON would not do: its maps have no order, and what is signed must
// be the same when it is made again.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace weir::alerting {

template <typename Json>
std::string DumpJson(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace weir::alerting
