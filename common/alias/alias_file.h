// The table of aliases as a file: the one that is shipped, metric_aliases.yaml here,
// which is part of the binary, and one of an operator's own beside it.
//
// Thread safety: pure functions.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "common/alias/alias_table.h"

namespace weir {

struct AliasFile {
  bool replace = false;  // whether the shipped metrics are left out
  std::vector<AliasMetric> metrics;
};

// The shipped file's text.
std::string_view ShippedAliases();

// Errors: InvalidArgument, "NAME:LINE: ..." for what is no such file.
absl::StatusOr<AliasFile> ParseAliases(std::string_view yaml, const std::string& name);

// The shipped table, changed by the file at `path` unless that is empty: its metrics
// replace those of the same name, and what they name as a source is one of no other
// metric any more. Errors: NotFound and others of reading, InvalidArgument.
absl::StatusOr<AliasTable> LoadAliases(const std::string& path);

// `shipped` as `own` changes it.
std::vector<AliasMetric> MergeAliases(std::vector<AliasMetric> shipped, const AliasFile& own);

}  // namespace weir
