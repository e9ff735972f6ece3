// Values of fields as text: how they are read, checked, and written back. Part
// of Loader.
//
// Thread safety: pure functions, but for the field that is set.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "common/config/loader.h"

namespace weir::config {

// Parses `text`, checks it against `options` and sets the field, unless it is
// a list.
// Errors: InvalidArgument, "is not ...: takes ..."; the field is then as it was.
absl::Status ParseInto(const std::string& text, const FieldOptions& options, const Target& target);

// Checks the length of a list and each element.
absl::Status CheckList(const std::vector<std::string>& values, const FieldOptions& options);

// "a, b,c" -> {"a", "b", "c"}; nothing but blanks is the empty list.
std::vector<std::string> SplitList(std::string_view text);

// What a field takes: "a whole number from 1 to 65535".
std::string Allowed(const Target& target, const FieldOptions& options);
// What stands for it in the help: "NUMBER".
std::string Placeholder(const Target& target, const FieldOptions& options);

// A field's value as a flag takes it, and as YAML.
std::string TextOf(const Target& target, const FieldOptions& options);
std::string YamlOf(const Target& target, const FieldOptions& options);

}  // namespace weir::config
