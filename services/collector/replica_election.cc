#include "services/collector/replica_election.h"

#include "common/base/bytes.h"

namespace weir::collector {

std::string ReplicaElection::KeyOf(std::string_view tenant, std::string_view cluster) {
  std::string key;
  AppendLengthPrefixed(tenant, &key);
  return key.append(cluster);
}

void ReplicaElection::Heard(std::string_view tenant, std::string_view cluster,
                            std::string_view replica, absl::Time now) {
  const std::string key = KeyOf(tenant, cluster);
  MutexLock lock(&mu_);
  const auto found = by_key_.find(key);
  if (found != by_key_.end() && found->second->elected == replica) found->second->heard = now;
}

ReplicaElection::Verdict ReplicaElection::Judge(std::string_view tenant, std::string_view cluster,
                                                std::string_view replica, absl::Time now) {
  std::string key = KeyOf(tenant, cluster);
  MutexLock lock(&mu_);
  const auto found = by_key_.find(key);
  if (found == by_key_.end()) {
    if (clusters_.size() >= options_.max_cluster_count) {
      by_key_.erase(clusters_.back().key);
      clusters_.pop_back();
    }
    clusters_.push_front({.key = std::move(key), .elected = std::string(replica), .heard = now});
    by_key_.emplace(clusters_.front().key, clusters_.begin());
    return Verdict::kElected;
  }
  Cluster& known = *found->second;
  clusters_.splice(clusters_.begin(), clusters_, found->second);
  // A clock that was set back must not make the silence longer than it is.
  if (known.heard > now) known.heard = now;
  if (known.elected == replica) return Verdict::kElected;
  if (now - known.heard < options_.failover_after) return Verdict::kNotElected;
  known.elected = std::string(replica);
  known.heard = now;
  return Verdict::kTakenOver;
}

size_t ReplicaElection::cluster_count() const {
  MutexLock lock(&mu_);
  return clusters_.size();
}

}  // namespace weir::collector
