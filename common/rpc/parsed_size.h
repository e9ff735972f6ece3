// What a protobuf message will take in memory, from its bytes alone.
//
// A repeated message of two bytes becomes an object of a hundred, so a limit on
// what comes over the wire is no limit on memory. This walks the bytes as the
// parser will, and allocates nothing.
//
// Thread safety: pure function.
#pragma once

#include <google/protobuf/descriptor.h>

#include <cstdint>
#include <string_view>

namespace weir::rpc {

// Roughly, and rather too much than too little: objects by their number of fields,
// strings and numbers by their length. Stops when it is at least `enough`. Bytes
// that do not parse count as far as they do.
int64_t ParsedSize(const google::protobuf::Descriptor& message, std::string_view bytes,
                   int64_t enough);

}  // namespace weir::rpc
