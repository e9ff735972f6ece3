// Each layer turns into (field, texts, where) and goes through the same
// setters, so a value means the same wherever it comes from. Layers are applied
// weakest first; problems are gathered, so that one run shows all of them.
#include "common/config/loader.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_join.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "common/config/text.h"

namespace weir::config {
namespace {

// A configuration is written by hand; more than this is a mistake.
constexpr size_t kMaxFileBytes = 1 << 20;
constexpr int kMaxDepth = 16;

std::string VariableName(const std::string& key) {
  std::string name = "WEIR_" + key;
  for (char& c : name) c = c == '.' ? '_' : absl::ascii_toupper(c);
  return name;
}

// How a key looks on a command line whatever its separators.
std::string FlagName(std::string_view key) {
  std::string name(key);
  for (char& c : name) {
    if (c == '.' || c == '-') c = '_';
  }
  return name;
}

int EditDistance(std::string_view a, std::string_view b) {
  std::vector<int> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = static_cast<int>(j);
  for (size_t i = 1; i <= a.size(); ++i) {
    int diagonal = std::exchange(row[0], static_cast<int>(i));
    for (size_t j = 1; j <= b.size(); ++j) {
      const int substitute = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, substitute}));
    }
  }
  return row[b.size()];
}

absl::Status Combined(const std::vector<std::string>& problems) {
  if (problems.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrJoin(problems, "\n"));
}

void Note(const absl::Status& status, std::vector<std::string>* problems) {
  if (!status.ok()) problems->emplace_back(StdView(status.message()));
}

// Walks a document and reports every scalar or list under its dotted key.
class YamlWalk {
 public:
  using Visit =
      std::function<void(const std::string& key, const YAML::Node& node, const std::string& where)>;

  YamlWalk(const std::string& file, Visit visit, std::vector<std::string>* problems)
      : file_(file), visit_(std::move(visit)), problems_(problems) {}

  std::string Where(const YAML::Mark& mark) const { return StrCat(file_, ":", mark.line + 1); }

  void Map(const YAML::Node& map, const std::string& prefix, int depth) {
    std::set<std::string> seen;
    for (const auto& entry : map) {
      const std::string where = Where(entry.first.Mark());
      if (!entry.first.IsScalar()) {
        problems_->push_back(StrCat(where, ": a key must be a word"));
        continue;
      }
      const std::string key = prefix + entry.first.Scalar();
      if (!seen.insert(key).second) {
        problems_->push_back(StrCat(where, ": ", key, ": given twice"));
      } else if (entry.second.IsMap() && depth < kMaxDepth) {
        Map(entry.second, key + ".", depth + 1);
      } else {
        visit_(key, entry.second, where);
      }
    }
  }

 private:
  const std::string file_;
  const Visit visit_;
  std::vector<std::string>* const problems_;
};

}  // namespace

Loader::Loader(std::string program, std::string summary)
    : program_(std::move(program)), summary_(std::move(summary)) {}

void Loader::Add(std::string_view key, bool* field, FieldOptions options) {
  AddField(key, field, std::move(options));
}
void Loader::Add(std::string_view key, int* field, FieldOptions options) {
  AddField(key, field, std::move(options));
}
void Loader::Add(std::string_view key, int64_t* field, FieldOptions options) {
  AddField(key, field, std::move(options));
}
void Loader::Add(std::string_view key, double* field, FieldOptions options) {
  AddField(key, field, std::move(options));
}
void Loader::Add(std::string_view key, std::string* field, FieldOptions options) {
  AddField(key, field, std::move(options));
}
void Loader::Add(std::string_view key, absl::Duration* field, FieldOptions options) {
  AddField(key, field, std::move(options));
}
void Loader::Add(std::string_view key, std::vector<std::string>* field, FieldOptions options) {
  AddField(key, field, std::move(options));
}

void Loader::AddField(std::string_view key, Target target, FieldOptions options) {
  WEIR_CHECK_MSG(!key.empty() && std::all_of(key.begin(), key.end(),
                                             [](char c) {
                                               return absl::ascii_islower(c) ||
                                                      absl::ascii_isdigit(c) || c == '_' ||
                                                      c == '.';
                                             }),
                 key);
  const std::string flag = FlagName(key);
  for (const char* reserved : {"config", "help", "version", "print_config"}) {
    WEIR_CHECK_MSG(flag != reserved, key);
  }
  WEIR_CHECK_MSG(FindFlag(flag) == nullptr, key);
  WEIR_CHECK_MSG(!options.help.empty(), key);
  Field field;
  field.key = key;
  field.target = target;
  field.help = options.help;
  field.default_text = TextOf(target, options);
  field.options = std::move(options);
  field.options.help = {};
  fields_.push_back(std::move(field));
}

const Loader::Field* Loader::FindKey(std::string_view key) const {
  for (const Field& field : fields_) {
    if (field.key == key) return &field;
  }
  return nullptr;
}

const Loader::Field* Loader::FindFlag(std::string_view flag) const {
  const std::string name = FlagName(flag);
  for (const Field& field : fields_) {
    if (FlagName(field.key) == name) return &field;
  }
  return nullptr;
}

std::string Loader::Nearest(std::string_view key, bool flags) const {
  std::string nearest;
  int least = std::max<int>(2, static_cast<int>(key.size()) / 3) + 1;
  const auto consider = [&](const std::string& candidate, std::string_view compared) {
    const int distance = EditDistance(compared, key);
    if (distance < least) {
      least = distance;
      nearest = candidate;
    }
  };
  for (const Field& field : fields_) {
    consider(field.key, field.key);
    // A key written without its section, or with another one.
    const size_t dot = field.key.rfind('.');
    if (dot != std::string::npos) consider(field.key, std::string_view(field.key).substr(dot + 1));
  }
  if (flags) {
    for (const char* name : {"config", "help", "version", "print_config"}) consider(name, name);
  }
  if (nearest.empty()) return "";
  return StrCat("; did you mean ", flags ? "--" : "", nearest, "?");
}

absl::Status Loader::SetList(const Field& field, std::vector<std::string> values,
                             const std::string& where) {
  absl::Status status;
  if (auto* const* list = std::get_if<std::vector<std::string>*>(&field.target)) {
    status = CheckList(values, field.options);
    if (status.ok()) **list = std::move(values);
  } else {
    status = absl::InvalidArgumentError("takes one value, not a list");
  }
  if (status.ok()) return status;
  return absl::InvalidArgumentError(
      StrCat(where, ": ", field.key, ": ", StdView(status.message())));
}

absl::Status Loader::SetText(const Field& field, const std::string& text,
                             const std::string& where) {
  if (std::holds_alternative<std::vector<std::string>*>(field.target)) {
    return SetList(field, SplitList(text), where);
  }
  const absl::Status status = ParseInto(text, field.options, field.target);
  if (status.ok()) return status;
  // What a secret was set to is not repeated either.
  const std::string value = field.options.secret ? "<secret>" : StrCat("\"", text, "\"");
  return absl::InvalidArgumentError(
      StrCat(where, ": ", field.key, ": ", value, " ", StdView(status.message())));
}

absl::Status Loader::LoadYaml(const std::string& text, const std::string& name) {
  YAML::Node root;
  try {
    root = YAML::Load(text);
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(StrCat(name, ":", error.mark.line + 1, ": ", error.msg));
  }
  if (root.IsNull()) return absl::OkStatus();
  if (!root.IsMap()) {
    return absl::InvalidArgumentError(
        StrCat(name, ":", root.Mark().line + 1, ": a configuration is a map of keys to values"));
  }
  std::vector<std::string> problems;
  const auto visit = [&](const std::string& key, const YAML::Node& node, const std::string& where) {
    const Field* const field = FindKey(key);
    if (field == nullptr) {
      // A section whose keys are all commented out, as PrintConfig leaves one.
      const bool section = std::any_of(fields_.begin(), fields_.end(), [&](const Field& candidate) {
        return candidate.key.starts_with(key + ".");
      });
      if (section && node.IsNull()) return;
      problems.push_back(StrCat(where, ": ", key, ": unknown key", Nearest(key, false)));
      return;
    }
    if (node.IsScalar()) {
      // In a file a list is a list; a comma in one element means itself.
      Note(std::holds_alternative<std::vector<std::string>*>(field->target)
               ? SetList(*field, {node.Scalar()}, where)
               : SetText(*field, node.Scalar(), where),
           &problems);
      return;
    }
    std::vector<std::string> values;
    bool scalars = node.IsSequence();
    if (scalars) {
      for (const YAML::Node& element : node) {
        scalars = scalars && element.IsScalar();
        if (scalars) values.push_back(element.Scalar());
      }
    }
    if (scalars) {
      Note(SetList(*field, std::move(values), where), &problems);
    } else {
      problems.push_back(StrCat(where, ": ", key, ": takes ",
                                Allowed(field->target, field->options), ", not ",
                                node.IsNull() ? "nothing" : "a map"));
    }
  };
  YamlWalk(name, visit, &problems).Map(root, "", 0);
  return Combined(problems);
}

absl::StatusOr<LoadResult> Loader::Load(const std::vector<std::string>& arguments,
                                        const Environment& environment) {
  reads_environment_ = environment != nullptr;
  // The command line is read first, because it names the file, and applied
  // last.
  struct Flag {
    const Field* field;
    std::string text;
    std::string where;
  };
  LoadResult result;
  std::vector<std::string> problems;
  std::vector<Flag> flags;
  std::optional<std::string> config_file;
  bool help = false;
  bool version = false;
  bool print_config = false;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (argument == "--") {
      result.positional.insert(result.positional.end(), arguments.begin() + i + 1, arguments.end());
      break;
    }
    if (argument == "-h") {
      help = true;
      continue;
    }
    if (!argument.starts_with("--")) {
      result.positional.push_back(argument);
      continue;
    }
    const size_t equals = argument.find('=');
    const std::string name = argument.substr(2, equals == std::string::npos ? equals : equals - 2);
    std::optional<std::string> value;
    if (equals != std::string::npos) value = argument.substr(equals + 1);
    const std::string where = "--" + name;
    const std::string flag = FlagName(name);
    if (flag == "help" || flag == "version" || flag == "print_config") {
      if (value.has_value()) problems.push_back(StrCat(where, ": takes no value"));
      (flag == "help" ? help : flag == "version" ? version : print_config) = true;
      continue;
    }
    const Field* field = flag == "config" ? nullptr : FindFlag(flag);
    const bool boolean = field != nullptr && std::holds_alternative<bool*>(field->target);
    if (field == nullptr && flag.starts_with("no_")) {
      field = FindFlag(flag.substr(3));
      if (field != nullptr && std::holds_alternative<bool*>(field->target)) {
        if (value.has_value()) problems.push_back(StrCat(where, ": takes no value"));
        flags.push_back({field, "false", where});
        continue;
      }
      field = nullptr;
    }
    if (field == nullptr && flag != "config") {
      problems.push_back(StrCat(where, ": unknown flag", Nearest(name, true)));
      continue;
    }
    if (!value.has_value()) {
      if (boolean) {
        value = "true";
      } else if (i + 1 < arguments.size()) {
        value = arguments[++i];
      } else {
        problems.push_back(StrCat(where, ": needs a value"));
        continue;
      }
    }
    if (flag == "config") {
      if (config_file.has_value()) problems.push_back(StrCat(where, ": given twice"));
      config_file = *std::move(value);
    } else {
      flags.push_back({field, *std::move(value), where});
    }
  }
  if (help) {
    result.print_and_exit = Help();
    return result;
  }
  if (version) {
    result.print_and_exit = StrCat(program_, " ", WEIR_VERSION, "\n");
    return result;
  }

  if (config_file.has_value()) {
    std::ifstream file(*config_file, std::ios::binary);
    std::string text(kMaxFileBytes + 1, '\0');
    if (file) file.read(text.data(), static_cast<std::streamsize>(text.size()));
    if (!file && !file.eof()) {
      return absl::NotFoundError(
          StrCat("the configuration file \"", *config_file, "\" cannot be read"));
    }
    text.resize(static_cast<size_t>(file.gcount()));
    if (text.size() > kMaxFileBytes) {
      return absl::InvalidArgumentError(
          StrCat(*config_file, ": larger than ", kMaxFileBytes, " bytes"));
    }
    Note(LoadYaml(text, *config_file), &problems);
  }
  if (environment != nullptr) {
    for (const Field& field : fields_) {
      const std::string name = VariableName(field.key);
      if (const auto value = environment(name)) Note(SetText(field, *value, name), &problems);
    }
  }
  // A list's flag is repeated to lengthen it; any other's is given once.
  std::vector<const Field*> done;
  for (size_t i = 0; i < flags.size(); ++i) {
    const Field* const field = flags[i].field;
    if (std::find(done.begin(), done.end(), field) != done.end()) continue;
    done.push_back(field);
    std::vector<std::string> values;
    bool repeated = false;
    for (size_t j = i; j < flags.size(); ++j) {
      if (flags[j].field != field) continue;
      repeated = j > i;
      std::vector<std::string> more = SplitList(flags[j].text);
      std::move(more.begin(), more.end(), std::back_inserter(values));
    }
    if (std::holds_alternative<std::vector<std::string>*>(field->target)) {
      Note(SetList(*field, std::move(values), flags[i].where), &problems);
    } else if (repeated) {
      problems.push_back(StrCat(flags[i].where, ": given twice"));
    } else {
      Note(SetText(*field, flags[i].text, flags[i].where), &problems);
    }
  }
  WEIR_RETURN_IF_ERROR(Combined(problems));
  if (print_config) result.print_and_exit = PrintConfig();
  return result;
}

std::optional<int> Loader::LoadOrReport(const std::vector<std::string>& arguments) {
  const absl::StatusOr<LoadResult> loaded = Load(arguments, ReadEnvironment);
  if (!loaded.ok()) {
    std::fprintf(stderr, "%s\n", std::string(loaded.status().message()).c_str());
    return 2;
  }
  if (loaded->print_and_exit.has_value()) {
    std::fputs(loaded->print_and_exit->c_str(), stdout);
    return 0;
  }
  if (!loaded->positional.empty()) {
    std::fprintf(stderr, "'%s' is no flag; see %s --help\n", loaded->positional[0].c_str(),
                 program_.c_str());
    return 2;
  }
  return std::nullopt;
}

std::string Loader::PrintConfig() const {
  std::string out = StrCat("# ", program_, "\n");
  std::vector<std::string> open;  // the sections the line before is in
  for (const Field& field : fields_) {
    std::vector<std::string> sections;
    size_t start = 0;
    for (size_t dot; (dot = field.key.find('.', start)) != std::string::npos; start = dot + 1) {
      sections.push_back(field.key.substr(start, dot - start));
    }
    size_t shared = 0;
    while (shared < std::min(open.size(), sections.size()) && open[shared] == sections[shared]) {
      ++shared;
    }
    for (size_t i = shared; i < sections.size(); ++i) {
      out.append(2 * i, ' ').append(sections[i]).append(":\n");
    }
    open = sections;
    const std::string indent(2 * sections.size(), ' ');
    out.append(indent).append("# ").append(field.help).append("\n");
    out.append(indent).append(field.options.secret ? "# " : "");
    out.append(field.key.substr(start)).append(": ");
    out.append(field.options.secret ? "<secret>" : YamlOf(field.target, field.options));
    out.push_back('\n');
  }
  return out;
}

std::string Loader::Help() const {
  std::string out = StrCat(
      program_, ": ", summary_, "\n\nUsage: ", program_, " [--config FILE] [--key=value ...]\n\n",
      reads_environment_ ? "A flag beats its variable (WEIR_ and the key in capitals), which "
                           "beats the file,\nwhich beats the default.\n\n"
                         : "A flag beats the file, which beats the default.\n\n");
  const auto add = [&](const std::string& flag, const std::string& text) {
    out.append("  ").append(flag).append("\n      ").append(text).append("\n");
  };
  add("--config FILE", "The YAML file to read.");
  add("--print_config", "Prints the configuration in force, secrets left out, and exits.");
  add("--help, --version", "Prints this, or the version, and exits.");
  for (const Field& field : fields_) {
    const std::string fallback =
        field.options.secret
            ? "A secret."
            : StrCat("Default ", field.default_text.empty() ? "\"\"" : field.default_text, ".");
    add(StrCat("--", field.key, "=", Placeholder(field.target, field.options)),
        StrCat(field.help, " ", fallback));
  }
  return out;
}

std::optional<std::string> ReadEnvironment(const std::string& name) {
  const char* const value = std::getenv(name.c_str());
  if (value == nullptr) return std::nullopt;
  return value;
}

}  // namespace weir::config
