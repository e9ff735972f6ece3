// Binds the fields of a service's Config to a YAML file, the environment and
// the command line.
//
//   Loader loader("weir-collector", "Takes samples in.");
//   loader.Add("wal.directory", &config.wal_directory, {.help = "Where the log is kept."});
//   loader.Add("wal.quota_bytes", &config.wal_quota_bytes,
//              {.help = "...", .unit = Unit::kBytes, .min = 64 << 20});
//   WEIR_ASSIGN_OR_RETURN(const LoadResult result, loader.Load(arguments, ReadEnvironment));
//
// A flag beats the environment, which beats the file, which beats the default
// (what the field holds when it is added):
//
//   --wal.directory=/var/lib/weir     WEIR_WAL_DIRECTORY=/var/lib/weir     wal:
//   --wal.directory /var/lib/weir                                            directory:
//   /var/lib/weir
//
// Booleans are `--x`, `--no_x`, `--x=false`; lists repeat the flag or separate by
// commas. Unknown keys, repeated keys and values out of range stop the load, with
// the file and line (or the flag, or the variable), the key and what is
// allowed.
//
// Thread safety: thread-compatible.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace weir::config {

// How a number is written.
enum class Unit {
  kNone,
  // An int64_t that also takes "64KiB", "1.5GiB", "10MB" (KiB, MiB, GiB, TiB are
  // powers of 1024; kB, MB, GB, TB of 1000).
  kBytes,
};

struct FieldOptions {
  // One sentence: meaning, and consequence where it is not plain. Required.
  std::string_view help;
  Unit unit = Unit::kNone;
  // Both included. In seconds for durations; the number of elements for lists.
  std::optional<double> min = std::nullopt;
  std::optional<double> max = std::nullopt;
  // For strings (and elements of lists): the values allowed; empty allows all.
  std::vector<std::string> choices = {};
  // Never printed.
  bool secret = false;
};

// Where a value goes.
using Target = std::variant<bool*, int*, int64_t*, double*, std::string*, absl::Duration*,
                            std::vector<std::string>*>;

struct LoadResult {
  // --help, --version or --print_config was asked for: print this and exit with
  // status 0.
  std::optional<std::string> print_and_exit;
  // Arguments that are no flags, in order, and all after "--".
  std::vector<std::string> positional;
};

class Loader {
 public:
  // Reads a variable of the environment; nullopt when it is not set.
  using Environment = std::function<std::optional<std::string>(const std::string& name)>;

  // `program` and `summary` head the help text.
  Loader(std::string program, std::string summary);

  // Binds one field, which outlives this loader. Keys are dotted snake_case,
  // "wal.directory"; the flag is the key (dots may also be written as dashes or
  // underscores: --wal_directory), the variable WEIR_ and the key in capitals
  // with underscores.
  // REQUIRES: a key not yet added, and not "config", "help", "version" or
  // "print_config".
  void Add(std::string_view key, bool* field, FieldOptions options);
  void Add(std::string_view key, int* field, FieldOptions options);
  void Add(std::string_view key, int64_t* field, FieldOptions options);
  void Add(std::string_view key, double* field, FieldOptions options);
  void Add(std::string_view key, std::string* field, FieldOptions options);
  // "10s", "1h30m", "250ms"; "inf" where max is not set.
  void Add(std::string_view key, absl::Duration* field, FieldOptions options);
  void Add(std::string_view key, std::vector<std::string>* field, FieldOptions options);

  // Reads `--config FILE` when given, then the environment (but for nullptr, of which
  // the help then says nothing), then the flags.
  // `arguments` leave out the program's name.
  // Errors: InvalidArgument with every problem found, one a line; NotFound for
  // a configuration file that cannot be read. Fields are then unspecified.
  absl::StatusOr<LoadResult> Load(const std::vector<std::string>& arguments,
                                  const Environment& environment);

  // As Load with the process's environment, for a program that takes flags only:
  // prints what was asked for, or what is wrong, and returns the status to exit
  // with; nullopt when the program is to go on.
  std::optional<int> LoadOrReport(const std::vector<std::string>& arguments);

  // One layer alone, for tests and tools. `name` stands in messages.
  absl::Status LoadYaml(const std::string& text, const std::string& name);

  // The configuration in force, as YAML that Load reads back: help as comments,
  // secrets as "<secret>" in a comment.
  std::string PrintConfig() const;
  std::string Help() const;

 private:
  struct Field {
    std::string key;
    Target target;
    FieldOptions options;
    std::string help;
    std::string default_text;
  };

  void AddField(std::string_view key, Target target, FieldOptions options);
  const Field* FindKey(std::string_view key) const;
  const Field* FindFlag(std::string_view flag) const;
  std::string Nearest(std::string_view key, bool flags) const;

  absl::Status SetText(const Field& field, const std::string& text, const std::string& where);
  absl::Status SetList(const Field& field, std::vector<std::string> values,
                       const std::string& where);

  const std::string program_;
  const std::string summary_;
  bool reads_environment_ = true;
  std::vector<Field> fields_;  // in the order added: the order of the help
};

// The process's environment.
std::optional<std::string> ReadEnvironment(const std::string& name);

// "64MiB" -> 67108864. Errors: InvalidArgument.
absl::StatusOr<int64_t> ParseBytes(std::string_view text);
// 67108864 -> "64MiB"; what is no multiple stays a plain number.
std::string FormatBytes(int64_t bytes);

}  // namespace weir::config
