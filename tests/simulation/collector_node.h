// A collector: the production objects on a simulated disk. The log thread's steps
// and their order are GroupCommit's, as in Pipeline; here each is an event of its
// own, so that anything may happen between two of them.
//
//   kStep   write, sync, tell or keep house      (GroupCommit)
//   kNotice tell the sender, on its own thread   (Sender::OnDurable)
//
// The disk outlives the process; everything else dies with it.
//
// Thread safety: thread-compatible; one per run.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/testing/sim_disk.h"
#include "common/wal/wal.h"
#include "services/collector/admission.h"
#include "services/collector/group_commit.h"
#include "services/collector/log_writer.h"
#include "services/collector/sender.h"
#include "services/collector/series_table.h"
#include "services/collector/session_core.h"
#include "tests/simulation/environment.h"
#include "tests/simulation/network.h"

namespace weir::simulation {

// What a collector asks of the world around it.
class Surroundings {
 public:
  virtual ~Surroundings() = default;
  // Who answers at the aggregator's address, or null.
  virtual Endpoint* Aggregator() = 0;
  // Whether the store's slots are its own; one that lost them may still answer.
  virtual bool Owns(const Endpoint* aggregator) = 0;
  // The last committed lsn of the log in the slot.
  virtual uint64_t CommittedLsn(const WalId& log, int slot) = 0;
};

class CollectorNode final : public Actor, public Endpoint, private collector::SenderPort {
 public:
  CollectorNode(Environment& env, Network& network, Surroundings& surroundings, int number);
  ~CollectorNode() override;

  void Start();
  // The process dies, by itself or with its machine, and starts again later.
  void Crash(bool power_loss);
  void FailNextSync();
  // Leaves little or no room on the disk for a while.
  void FillDisk(absl::Duration duration);
  void JumpClock(absl::Duration by) { clock_offset_ += by; }

  bool running() const { return process_ != nullptr; }
  const WalId& wal_id() const { return wal_id_; }
  // The link to the aggregator; 0 when there is none.
  LinkId upstream() const { return upstream_; }
  // What is known to be committed; 0 while it is down.
  uint64_t committed_lsn() const;
  // Everything it took is durable, committed, known to be, and trimmed.
  bool settled() const;
  std::string Describe() const;
  // Adds what the process counted to the run's tally; also done when it dies.
  void Tally();

  // Whether everything told to clients before the receive time `before` is
  // committed, with its rows. REQUIRES: its clock, which the sender's heartbeats
  // and the seal times come from.
  bool CompleteUntil(absl::Time before) const;

  void OnEvent(const Event& event) override;
  void OnLinkOpened(LinkId link) override;
  void OnLinkMessage(LinkId link, const Message& message) override;
  void OnLinkClosed(LinkId link) override;

 private:
  enum Kind { kRestart, kStep, kNotice, kTrimNotice, kHouseKeep, kTick, kDiskFreed, kStop };

  // A push without a session: counted if it is told, or found in the log.
  struct Push {
    LinkId link = 0;
    uint64_t number = 0;
    ClientBatchPtr batch;
    uint64_t lsn = 0;  // 0 until it is written
  };
  struct Process;
  struct Told {
    absl::Time receive_time;
    uint64_t lsn = 0;
  };

  absl::Time Clock() const { return env_.now() + clock_offset_; }
  absl::Time ReceiveTime();
  void After(absl::Duration delay, Kind kind);
  void Die(const absl::Status& why);
  void Restart();
  void ResolvePushes(uint64_t durable_lsn);
  void OnRequest(LinkId link, const ClientRequest& request);
  void Submit(LinkId link, const ClientRequest& request);
  void WakeLogThread();
  void Step();
  void OnWritten();
  void OnTold();
  void RecordFrames(const std::vector<uint64_t>& before);
  void HouseKeep();
  void TellWaiters(const std::vector<collector::Waiter>& waiters);
  void CheckCommitted(uint64_t lsn, std::string_view what);
  bool CommittedUpTo(uint64_t lsn) const;

  // collector::SenderPort
  void Connect() override;
  void Send(const delivery::FromCollector& message) override;
  void Disconnect(const absl::Status& why) override;
  void Committed(uint64_t lsn) override;
  void Problem(const absl::Status& what) override;

  Environment& env_;
  Network& network_;
  Surroundings& surroundings_;
  const std::string name_;
  test::SimDisk disk_;
  WalId wal_id_;
  std::unique_ptr<Process> process_;
  uint64_t generation_ = 0;  // events of earlier processes are void
  LinkId upstream_ = 0;
  const Endpoint* aggregator_ = nullptr;  // at its other end
  absl::Duration clock_offset_;
  absl::Time high_clock_ = absl::InfinitePast();

  std::vector<Push> written_pushes_;              // of a process that died
  std::vector<std::vector<uint64_t>> slot_lsns_;  // the frames of each slot, ascending
  std::vector<Told> told_;                        // ascending in both
};

}  // namespace weir::simulation
