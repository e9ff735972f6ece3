#include "services/collector/remote_write_intake.h"

#include <google/protobuf/arena.h>

#include <utility>
#include <vector>

#include "common/rpc/buffer.h"
#include "common/rpc/inflate.h"
#include "common/rpc/parsed_size.h"
#include "services/collector/remote_write_reader.h"

namespace weir::collector {
namespace {

constexpr std::string_view kProtocol = "remote_write";
// What one request may become: a hundred times what Prometheus sends at once.
constexpr int64_t kMaxExpandedBytes = int64_t{32} << 20;

}  // namespace

RemoteWriteIntake::RemoteWriteIntake(const Intake& intake, ReplicaElection::Options replicas)
    : intake_(intake, kProtocol), election_(replicas) {}

void RemoteWriteIntake::Take(RemoteWriteVersion version, std::string_view bytes,
                             PendingWrite& answer) {
  // The same bytes mean something else to the other version.
  if (version == RemoteWriteVersion::k1) {
    TakeAs<RemoteWriteReader::RequestV1>("prometheus.write.1", bytes, answer);
  } else {
    TakeAs<RemoteWriteReader::RequestV2>("prometheus.write.2", bytes, answer);
  }
}

template <typename Request>
void RemoteWriteIntake::TakeAs(std::string_view kind, std::string_view bytes,
                               PendingWrite& answer) {
  const Intake& intake = intake_.intake();
  const int64_t parsed_bytes = rpc::ParsedSize(*Request::descriptor(), bytes,
                                               /*enough=*/intake.parse_budget.bytes() + 1);
  ContentIntake::Content content = {.kind = kind, .bytes = bytes};
  WriteResult result;
  std::vector<RemoteWriteReader::TakenOver> taken_over;
  int64_t dropped = 0;
  {
    const auto share = intake_.Admit(parsed_bytes);
    if (!share.ok()) return answer.Fail(share.status());
    google::protobuf::Arena arena;
    auto* request = google::protobuf::Arena::CreateMessage<Request>(&arena);
    if (const absl::Status parsed = rpc::ParsePlain(bytes, request); !parsed.ok()) {
      return answer.Fail(parsed);
    }
    const int64_t expanded_bytes = RemoteWriteReader::ExpandedBytes(*request);
    // Both are held at once: what never fits is not to be sent again.
    if (expanded_bytes > kMaxExpandedBytes ||
        parsed_bytes + expanded_bytes > intake.parse_budget.bytes()) {
      return answer.Fail(rpc::MessageTooLarge(kMaxExpandedBytes));
    }
    const auto expanded_share = intake_.Admit(expanded_bytes);
    if (!expanded_share.ok()) return answer.Fail(expanded_share.status());
    RemoteWriteReader reader(intake.limits, intake.series, families_, election_,
                             intake.clock.Now());
    reader.Read(*request);
    content.batches = reader.TakeBatches();
    content.rejections = reader.rejections();
    taken_over = reader.taken_over();
    dropped = reader.counts().dropped;
    result = {.samples = reader.counts().samples_taken,
              .histograms = reader.counts().histograms_taken,
              .rejections = content.rejections};
  }
  for (const auto& [cluster, replica] : taken_over) {
    intake.events.ReplicaTakenOver(cluster, replica);
  }
  intake.events.Deduplicated(kProtocol, dropped);
  intake_.Submit(std::move(content), result, answer);
}

}  // namespace weir::collector
