// Requests that have no id of their own: OTLP's, remote write's. Their clients send
// again what they had no answer to, so a request is known by its content for ten
// minutes, in the log like a session: a repeat is answered and not counted.
//
// Thread safety: thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "services/collector/batch.h"
#include "services/collector/intake.h"
#include "services/collector/parse_budget.h"
#include "services/collector/pending_answer.h"

namespace weir::collector {

class ContentIntake {
 public:
  // `protocol` is what our metrics call it.
  ContentIntake(const Intake& intake, std::string_view protocol);

  // Room for a request that takes so many bytes once it is parsed.
  // Errors: as ParseBudget::Take; Unavailable (SHUTTING_DOWN) with a delay.
  absl::StatusOr<ParseBudget::Share> Admit(int64_t parsed_bytes);

  // Hands on what was read of a request, and has it answered with `result`: when its
  // samples are safe, or at once when none were admitted, or with the refusal. Returns
  // whether there is something new: no for a repeat.
  struct Content {
    std::string_view kind;   // in what way the bytes are to be read
    std::string_view bytes;  // of the whole request
    std::vector<AdmittedBatch> batches;
    Rejections rejections;
  };
  template <typename Result>
  bool Submit(Content content, const Result& result, PendingAnswerOf<Result>& answer) {
    if (NothingIn(content)) {
      answer.Answer(result);
      return false;
    }
    const absl::StatusOr<SubmitResult> submitted =
        SubmitFor(answer.AwaitAck(result), std::move(content));
    if (!submitted.ok()) answer.Fail(submitted.status());
    return submitted.ok() && *submitted == SubmitResult::kQueued;
  }

  const Intake& intake() const { return intake_; }

 private:
  // Whether no samples were admitted; counts the rejected ones then.
  bool NothingIn(const Content& content);
  // Errors: as RefusalStatus.
  absl::StatusOr<SubmitResult> SubmitFor(uint64_t connection, Content content);

  const Intake intake_;
  const std::string protocol_;
  telemetry::Counter& accepted_;
};

}  // namespace weir::collector
