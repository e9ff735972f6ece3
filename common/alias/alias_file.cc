#include "common/alias/alias_file.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>
#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "yaml-cpp/yaml.h"

namespace weir {
namespace {

// One file being read. Reports the first thing that is wrong and where.
class Reader {
 public:
  explicit Reader(const std::string& name) : name_(name) {}

  absl::Status Read(const YAML::Node& root, AliasFile* file) {
    WEIR_RETURN_IF_ERROR(CheckKeys(root, {"replace", "metrics"}));
    if (const YAML::Node replace = root["replace"]) {
      WEIR_RETURN_IF_ERROR(As(replace, "true or false", &file->replace));
    }
    const YAML::Node metrics = root["metrics"];
    if (!metrics || !metrics.IsSequence()) return Error(root, "metrics is not a list");
    for (const YAML::Node& node : metrics) {
      WEIR_RETURN_IF_ERROR(ReadMetric(node, &file->metrics.emplace_back()));
    }
    return absl::OkStatus();
  }

 private:
  absl::Status Error(const YAML::Node& node, std::string_view what) const {
    return absl::InvalidArgumentError(StrCat(name_, ":", node.Mark().line + 1, ": ", what));
  }

  absl::Status CheckKeys(const YAML::Node& map, const std::set<std::string>& known) const {
    if (!map.IsMap()) return Error(map, "is not a map");
    std::set<std::string> seen;
    for (const auto& entry : map) {
      const std::string key = entry.first.Scalar();
      if (!known.contains(key)) return Error(entry.first, StrCat("unknown key '", key, "'"));
      if (!seen.insert(key).second) return Error(entry.first, StrCat("'", key, "' is there twice"));
    }
    return absl::OkStatus();
  }

  template <typename Value>
  absl::Status As(const YAML::Node& node, std::string_view what, Value* value) const {
    if (!node.IsScalar() || !YAML::convert<Value>::decode(node, *value)) {
      return Error(node, StrCat("is not ", what));
    }
    return absl::OkStatus();
  }

  template <typename Value>
  absl::Status Required(const YAML::Node& map, const std::string& key, std::string_view what,
                        Value* value) const {
    const YAML::Node node = map[key];
    if (!node) return Error(map, StrCat("'", key, "' is missing"));
    return As(node, what, value);
  }

  absl::Status ReadMetric(const YAML::Node& node, AliasMetric* metric) const {
    WEIR_RETURN_IF_ERROR(CheckKeys(node, {"name", "unit", "kind", "range", "sources", "repeats"}));
    WEIR_RETURN_IF_ERROR(Required(node, "name", "a name", &metric->name));
    WEIR_RETURN_IF_ERROR(Required(node, "unit", "a unit", &metric->unit));
    WEIR_RETURN_IF_ERROR(ReadKind(node, &metric->kind));
    if (const YAML::Node range = node["range"]) {
      if (!range.IsSequence() || range.size() != 2) {
        return Error(range, "a range is [least, most]");
      }
      // ~ leaves an end open.
      if (!range[0].IsNull()) WEIR_RETURN_IF_ERROR(As(range[0], "a number", &metric->least));
      if (!range[1].IsNull()) WEIR_RETURN_IF_ERROR(As(range[1], "a number", &metric->most));
    }
    if (const YAML::Node sources = node["sources"]) {
      if (!sources.IsSequence()) return Error(sources, "sources is not a list");
      for (const YAML::Node& source : sources) {
        WEIR_RETURN_IF_ERROR(ReadSource(source, &metric->sources.emplace_back()));
      }
    }
    if (const YAML::Node repeats = node["repeats"]) {
      if (!repeats.IsSequence()) return Error(repeats, "repeats is not a list");
      for (const YAML::Node& repeat : repeats) {
        WEIR_RETURN_IF_ERROR(As(repeat, "a name", &metric->repeats.emplace_back()));
      }
    }
    return absl::OkStatus();
  }

  absl::Status ReadKind(const YAML::Node& node, Kind* kind) const {
    std::string name;
    WEIR_RETURN_IF_ERROR(Required(node, "kind", "a kind", &name));
    for (int number = 1; number <= kMaxKind; ++number) {
      *kind = static_cast<Kind>(number);
      if (KindName(*kind) == name) return absl::OkStatus();
    }
    return Error(
        node["kind"],
        StrCat("'", name, "' is no kind; they are gauge, counter, up_down_counter, distribution"));
  }

  absl::Status ReadSource(const YAML::Node& node, AliasSource* source) const {
    if (node.IsScalar()) return As(node, "a name", &source->name);
    WEIR_RETURN_IF_ERROR(CheckKeys(node, {"name", "scale", "overlap"}));
    WEIR_RETURN_IF_ERROR(Required(node, "name", "a name", &source->name));
    if (const YAML::Node scale = node["scale"]) {
      WEIR_RETURN_IF_ERROR(As(scale, "a number", &source->scale));
    }
    if (const YAML::Node overlap = node["overlap"]) {
      WEIR_RETURN_IF_ERROR(As(overlap, "true or false", &source->overlap));
    }
    return absl::OkStatus();
  }

  const std::string& name_;
};

}  // namespace

absl::StatusOr<AliasFile> ParseAliases(std::string_view yaml, const std::string& name) {
  AliasFile file;
  try {
    WEIR_RETURN_IF_ERROR(Reader(name).Read(YAML::Load(std::string(yaml)), &file));
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(
        StrCat(name, ":", error.mark.line + 1, ": not valid YAML: ", error.msg));
  }
  return file;
}

std::vector<AliasMetric> MergeAliases(std::vector<AliasMetric> shipped, const AliasFile& own) {
  if (own.replace) shipped.clear();
  std::set<std::string> named;  // by `own`, as anything
  std::set<std::string> metrics;
  for (const AliasMetric& metric : own.metrics) {
    metrics.insert(metric.name);
    named.insert(metric.name);
    for (const AliasSource& source : metric.sources) named.insert(source.name);
    named.insert(metric.repeats.begin(), metric.repeats.end());
  }
  std::erase_if(shipped, [&](const AliasMetric& metric) { return metrics.contains(metric.name); });
  for (AliasMetric& metric : shipped) {
    std::erase_if(metric.sources,
                  [&](const AliasSource& source) { return named.contains(source.name); });
    std::erase_if(metric.repeats,
                  [&](const std::string& repeat) { return named.contains(repeat); });
  }
  shipped.insert(shipped.end(), own.metrics.begin(), own.metrics.end());
  return shipped;
}

absl::StatusOr<AliasTable> LoadAliases(const std::string& path) {
  WEIR_ASSIGN_OR_RETURN(AliasFile shipped, ParseAliases(ShippedAliases(), "metric_aliases.yaml"));
  if (path.empty()) return AliasTable::Create(std::move(shipped.metrics));
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  if (!in || !(text << in.rdbuf())) {
    return absl::NotFoundError(StrCat("aliases.file: cannot read ", path));
  }
  WEIR_ASSIGN_OR_RETURN(const AliasFile own, ParseAliases(text.str(), path));
  absl::StatusOr<AliasTable> table =
      AliasTable::Create(MergeAliases(std::move(shipped.metrics), own));
  if (!table.ok()) {
    return absl::InvalidArgumentError(StrCat(path, ": ", StdView(table.status().message())));
  }
  return table;
}

}  // namespace weir
