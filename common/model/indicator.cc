#include "common/model/indicator.h"

#include <string>

#include "common/base/bytes.h"
#include "common/base/sha256.h"

namespace weir {

IndicatorId IdOfIndicator(std::string_view tenant, std::string_view name) {
  std::string bytes;
  AppendLengthPrefixed(tenant, &bytes);
  AppendLengthPrefixed(name, &bytes);
  return IndicatorId::FromBytes(Sha256(bytes).substr(0, 16));
}

}  // namespace weir
