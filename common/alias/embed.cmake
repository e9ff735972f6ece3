# Writes OUTPUT, a C++ source that holds FILE as a string literal. Run with
# cmake -P; no other tool is needed.
file(READ "${FILE}" yaml)
file(WRITE "${OUTPUT}" "// Made from common/alias/metric_aliases.yaml by embed.cmake.
#include \"common/alias/alias_file.h\"

namespace weir {

std::string_view ShippedAliases() {
  return R\"yaml(${yaml})yaml\";
}

}  // namespace weir
")
