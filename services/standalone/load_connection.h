// One session of a load on one connection: a LoadSession driven by a
// rpc::StreamClient, whose loop runs everything here.
//
// Thread safety: everything but Start and Stop is thread-safe; those belong to the owner.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/rpc/stream_client.h"
#include "services/standalone/load_batches.h"
#include "services/standalone/load_options.h"
#include "services/standalone/load_report.h"
#include "services/standalone/load_session.h"

namespace weir::standalone {

class LoadConnection final : private rpc::StreamClient::Handler {
 public:
  // `progress` is notified (under `progress_mu`) when done() becomes true or
  // error() is set. All four outlive this object.
  LoadConnection(const LoadOptions& options, int number, std::string session_id, absl::Time start,
                 Clock& clock, Mutex& progress_mu, CondVar& progress);
  ~LoadConnection() override;

  // Connects, and connects again until done, stopped or refused for good.
  void Start();
  // Makes no more batches.
  void Finish();
  // Ends the connection; nothing runs afterwards. Idempotent.
  void Stop();

  // Everything made is acknowledged and nothing more will be made.
  bool done() const;
  int64_t acked_batches() const;
  // Something is outstanding, or the session is not open: an answer is owed.
  bool waiting() const;
  // Why this session cannot go on; OK while it can.
  absl::Status error() const;
  // How the last connection ended that was tried again; OK when none has.
  absl::Status last_disconnect() const;

  // Adds the counts since the start to `*total`, and those since the last call
  // to `*interval`.
  void AddCounts(LoadCounts* total, LoadCounts* interval);

 private:
  void OnConnected() override;
  void OnMessage(grpc::ByteBuffer& message) override;
  void OnClosed(const absl::Status& status) override;

  absl::Status React(const v1::StreamBatchesResponse& response);
  absl::Status CountAcked(const v1::BatchesAcked& acked);
  // Sends what is due, and arranges to be called when more is.
  void Pump();
  // Forgets the definitions made by batches from `from_sequence` on.
  void Undefine(int64_t from_sequence);
  void Fail(absl::Status why);
  void NotifyProgress();

  // Constant after construction.
  const LoadOptions options_;
  const absl::Time end_;
  Clock& clock_;
  Mutex& progress_mu_;
  CondVar& progress_;

  // The loop's own.
  const BatchMaker batches_;
  LoadSession session_;
  std::vector<int64_t> defined_at_;  // as BatchMaker::Make keeps it
  v1::StreamBatchesRequest request_;
  v1::StreamBatchesResponse response_;
  std::vector<double> latencies_;
  absl::Time timer_ = absl::InfiniteFuture();
  absl::Duration reconnect_delay_;
  bool failed_ = false;

  mutable Mutex mu_;
  // What happened since AddCounts, and before. Their gauges are not used.
  LoadCounts recent_ ABSL_GUARDED_BY(mu_);
  LoadCounts earlier_ ABSL_GUARDED_BY(mu_);
  int64_t outstanding_batches_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t outstanding_samples_ ABSL_GUARDED_BY(mu_) = 0;
  bool done_ ABSL_GUARDED_BY(mu_) = false;
  bool open_ ABSL_GUARDED_BY(mu_) = false;
  absl::Status error_ ABSL_GUARDED_BY(mu_);
  absl::Status last_disconnect_ ABSL_GUARDED_BY(mu_);

  // Last: its loop uses everything above.
  std::unique_ptr<rpc::StreamClient> client_;
};

}  // namespace weir::standalone
