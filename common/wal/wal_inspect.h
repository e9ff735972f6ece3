// `weir wal inspect`: what a log directory holds, without changing a byte.
#pragma once

#include <functional>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "common/base/file_system.h"

namespace weir::wal {

struct InspectOptions {
  std::string directory;
  bool list_records = false;  // a line per record, else a line per segment
  // Describes a payload in one line, supplied by whoever knows the format.
  std::function<std::string(std::string_view payload)> describe;
};

// Prints the checkpoint, then each segment: number, lsns, records, bytes, and
// what is wrong with it, if anything, at which offset. Reads on after damage
// where the next record can be found. Takes no lock; a log being written may
// show an unfinished last record.
// Errors: NotFound (no such directory); DataLoss when anything is damaged.
absl::Status Inspect(const InspectOptions& options, FileSystem& files,
                     absl::FunctionRef<void(std::string_view line)> print);

}  // namespace weir::wal
