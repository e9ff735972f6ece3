// Prometheus' remote write, whatever carries it: POST /api/v1/write reads the bytes,
// this takes them from there.
//
// Remote write has no request id, so a request is known by its content
// (content_intake.h). It is given up before it is parsed, or read, when that would take
// more memory than it may.
//
// Thread safety: thread-safe.
#pragma once

#include <cstdint>
#include <string_view>

#include "services/collector/content_intake.h"
#include "services/collector/histogram_families.h"
#include "services/collector/intake.h"
#include "services/collector/pending_answer.h"
#include "services/collector/replica_election.h"

namespace weir::collector {

// prometheus.WriteRequest, or io.prometheus.write.v2.Request.
enum class RemoteWriteVersion { k1, k2 };

// What became of a request: how much is written, which is all that was not rejected.
struct WriteResult {
  int64_t samples = 0;
  int64_t histograms = 0;
  int64_t exemplars = 0;
  Rejections rejections;
};
using PendingWrite = PendingAnswerOf<WriteResult>;

class RemoteWriteIntake {
 public:
  RemoteWriteIntake(const Intake& intake, ReplicaElection::Options replicas);

  // Takes a request of these plain bytes.
  void Take(RemoteWriteVersion version, std::string_view bytes, PendingWrite& answer);

 private:
  template <typename Request>
  void TakeAs(std::string_view kind, std::string_view bytes, PendingWrite& answer);

  ContentIntake intake_;
  HistogramFamilies families_;
  ReplicaElection election_;
};

}  // namespace weir::collector
