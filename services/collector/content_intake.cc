#include "services/collector/content_intake.h"

#include <utility>

#include "common/base/bytes.h"
#include "common/base/sha256.h"
#include "services/collector/convert.h"

namespace weir::collector {
namespace {

frame::SessionId IdOfContent(std::string_view kind, std::string_view tenant,
                             std::string_view bytes) {
  std::string named(kind);
  AppendLengthPrefixed(tenant, &named);
  named.append(Sha256(bytes));
  return frame::SessionId::FromBytes(Sha256(named).substr(0, 16));
}

int64_t SampleCountOf(const std::vector<AdmittedBatch>& batches) {
  int64_t samples = 0;
  for (const AdmittedBatch& batch : batches) samples += batch.sample_count();
  return samples;
}

}  // namespace

ContentIntake::ContentIntake(const Intake& intake, std::string_view protocol)
    : intake_(intake), protocol_(protocol), accepted_(intake.events.AcceptedBy(protocol)) {}

absl::StatusOr<ParseBudget::Share> ContentIntake::Admit(int64_t parsed_bytes) {
  if (intake_.stopping.load(std::memory_order_relaxed)) return ShuttingDown();
  return intake_.parse_budget.Take(parsed_bytes);
}

bool ContentIntake::NothingIn(const Content& content) {
  if (SampleCountOf(content.batches) > 0) return false;
  intake_.events.Rejected(protocol_, content.rejections);
  return true;
}

absl::StatusOr<SubmitResult> ContentIntake::SubmitFor(uint64_t connection, Content content) {
  const int64_t samples = SampleCountOf(content.batches);
  const Submitted submitted = intake_.pipeline.SubmitAll(
      {.connection = connection, .sequence = 1},
      IdOfContent(content.kind, kDefaultTenant, content.bytes), std::move(content.batches));
  switch (submitted.result) {
    case SubmitResult::kQueued:
      accepted_.Increment(samples);
      intake_.events.Rejected(protocol_, content.rejections);
      return submitted.result;
    case SubmitResult::kDuplicate:
      intake_.events.Duplicate(protocol_);
      return submitted.result;
    default:
      intake_.events.Refused(protocol_, submitted.result);
      return RefusalStatus(submitted.result);
  }
}

}  // namespace weir::collector
