// Which replica of a Prometheus pair is listened to. Two that scrape the same targets
// send everything twice; for each cluster one of them is elected, and the others are
// not heard until it has been silent for a while.
//
//   A A A A A                  (silence)            A A
//     B B B B B B B  failover_after  B B B B B B B B B B
//   └──── A elected ───────────────┘└──── B elected ────
//
// Like Cortex' and Mimir's: a cluster is known by the label `cluster`, a replica by
// `__replica__`. Each collector elects by itself and anew when it starts, so a pair
// is to send to the same one.
//
// Thread safety: thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <string>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "common/base/mutex.h"

namespace weir::collector {

class ReplicaElection {
 public:
  struct Options {
    // How long the elected one may be silent. Above 0.
    absl::Duration failover_after = absl::Seconds(30);
    // Clusters remembered; the one heard of longest ago is forgotten, and its next
    // replica elected.
    size_t max_cluster_count = 10'000;
  };
  enum class Verdict { kElected, kTakenOver, kNotElected };

  explicit ReplicaElection(Options options) : options_(options) {}

  // Whether a replica that sends at `now` is the elected one, kTakenOver when it has
  // become so because another was silent.
  Verdict Judge(std::string_view tenant, std::string_view cluster, std::string_view replica,
                absl::Time now);

  // Something of it was admitted at `now`: the elected one is not silent. One whose
  // samples are all rejected is, and does not keep another from being heard.
  void Heard(std::string_view tenant, std::string_view cluster, std::string_view replica,
             absl::Time now);

  size_t cluster_count() const;

 private:
  struct Cluster {
    std::string key;
    std::string elected;
    absl::Time heard;  // the elected one
  };
  static std::string KeyOf(std::string_view tenant, std::string_view cluster);

  const Options options_;

  mutable Mutex mu_;
  // The one heard last first.
  std::list<Cluster> clusters_ ABSL_GUARDED_BY(mu_);
  // Views of the clusters' keys.
  absl::flat_hash_map<std::string_view, std::list<Cluster>::iterator> by_key_ ABSL_GUARDED_BY(mu_);
};

}  // namespace weir::collector
