// Makes the batches of one connection.
//
// A batch is a pure function of the options, the connection, its sequence and
// its time. So a batch that has to be sent again is made again, and nothing of
// it is kept while it is outstanding: a load of a million outstanding samples
// needs a few kilobytes.
//
// Thread safety: thread-compatible.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "common/model/series.h"
#include "services/standalone/load_options.h"
#include "weir/v1/ingest_service.pb.h"

namespace weir::standalone {

class BatchMaker {
 public:
  // `connection` in [0, options.connections).
  BatchMaker(const LoadOptions& options, int connection);

  // Samples in a batch: options.batch_size, or what is left of this connection's
  // part of options.samples; 0 past the end.
  int64_t SampleCount(int64_t sequence) const;

  // Makes `*request` the batch, whose youngest sample is from `time` less the
  // lateness. `defined_at[ref]` is the sequence that defined a series on the
  // current stream, 0 for none: the batch defines what it uses and nobody
  // defined, and notes it there.
  // REQUIRES: defined_at->size() == series_count(); SampleCount(sequence) > 0.
  void Make(int64_t sequence, absl::Time time, std::vector<int64_t>* defined_at,
            v1::StreamBatchesRequest* request) const;

  int64_t series_count() const { return static_cast<int64_t>(profiles_.size()); }

 private:
  struct Profile {
    Kind kind;
    bool integer;
  };

  void Define(uint32_t ref, v1::SeriesDefinition* definition) const;

  const LoadOptions options_;
  const int connection_;
  std::vector<Profile> profiles_;  // per series of this connection
  std::vector<double> durations_;  // a log-normal, drawn beforehand
  int64_t sample_limit_ = 0;
};

}  // namespace weir::standalone
