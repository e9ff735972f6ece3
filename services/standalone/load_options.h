// What `weir load` sends, how fast, and for how long.
//
// Thread safety: values, thread-compatible.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/model/series.h"
#include "weir/v1/sample.pb.h"

namespace weir::standalone {

// How far back from now event times lie.
struct Lateness {
  // Either exactly `duration`, or uniform in [0, duration).
  bool uniform = false;
  absl::Duration duration;
};

struct LoadOptions {
  // The collector, as gRPC spells addresses.
  std::string target = "127.0.0.1:4317";
  // Sessions, each with a connection and a thread of its own. In [1, 1024].
  int connections = 1;
  // Distinct series over all connections; each belongs to one connection. At
  // least one per connection, at most 2^20 per connection.
  int64_t series = 1000;
  // Samples in a batch. In [1, 65536].
  int batch_size = 1000;

  // Samples per second over all connections. 0 is a closed loop: each connection
  // keeps `pipeline` batches outstanding. Otherwise an open loop: batches have a
  // due time whether or not the collector keeps up, and latency counts from it,
  // so a stall is seen by every batch it delayed.
  double rate = 0;
  // The most batches sent and not acknowledged on a connection. In [1, 65536].
  // 0, the default: 8 in a closed loop, 1024 in an open one.
  int pipeline = 0;

  // When to stop: after `samples` samples if not 0, and after `duration`. With
  // neither given, after ten seconds.
  absl::Duration duration = absl::InfiniteDuration();
  int64_t samples = 0;
  // Give up when nothing was acknowledged for so long, although something was
  // outstanding or a connection missing: long enough for a restart.
  absl::Duration stall_timeout = absl::Seconds(60);

  // The share of the series of each kind, by Kind's number - 1; they sum to 1.
  std::array<double, kMaxKind> kinds = {0.25, 0.25, 0.25, 0.25};
  // The share of the series whose values are integers.
  double integers = 0.5;
  Lateness lateness;
  // Decides series, values and lateness; not the sessions' identities.
  int64_t seed = 1;
  v1::AckLevel ack_level = v1::ACK_LEVEL_DURABLE;

  // Where the summary is also written as JSON; empty for nowhere.
  std::string json_path;

  int PipelineDepth() const { return pipeline > 0 ? pipeline : rate > 0 ? 1024 : 8; }
};

struct ParsedLoadOptions {
  LoadOptions options;
  // --help was asked for: print this and stop.
  std::optional<std::string> print_and_exit;
};

// Errors: InvalidArgument, naming each flag that is wrong and what is allowed.
absl::StatusOr<ParsedLoadOptions> ParseLoadOptions(const std::vector<std::string>& arguments);

// "gauge:1,distribution:3" -> {0.25, 0, 0, 0.75}. Errors: InvalidArgument.
absl::StatusOr<std::array<double, kMaxKind>> ParseKinds(std::string_view text);

// "0s", "5m" (all samples that late) or "uniform:10m". Errors: InvalidArgument.
absl::StatusOr<Lateness> ParseLateness(std::string_view text);

}  // namespace weir::standalone
