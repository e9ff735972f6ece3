#include "services/collector/parse_budget.h"

#include "common/base/strings.h"
#include "common/rpc/error.h"
#include "services/collector/convert.h"

namespace weir::collector {

absl::StatusOr<ParseBudget::Share> ParseBudget::Take(int64_t bytes) {
  if (bytes > bytes_) {
    return rpc::Error(absl::StatusCode::kResourceExhausted, v1::MESSAGE_TOO_LARGE,
                      StrCat("the message would take ", bytes, " bytes in memory; at most ", bytes_,
                             " are allowed: send it in parts"),
                      {{"limit_bytes", StrCat(bytes_)}});
  }
  if (left_.fetch_sub(bytes) < bytes) {
    left_ += bytes;
    return RefusalStatus(SubmitResult::kOverloaded);
  }
  return Share(this, bytes);
}

}  // namespace weir::collector
