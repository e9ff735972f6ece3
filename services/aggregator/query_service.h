// weir.v1.QueryService: turns requests into queries and answers into replies.
//
// Queries read the store, so they run on a small pool of their own; when that is
// busy and its queue full, calls are refused with OVERLOADED and a RetryInfo.
//
// Thread safety: thread-safe, apart from Stop, which belongs to the owner.
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/alias/alias_table.h"
#include "common/base/clock.h"
#include "common/base/worker_pool.h"
#include "common/model/tier.h"
#include "common/store/store.h"
#include "services/aggregator/query.h"
#include "services/aggregator/top_series.h"
#include "weir/v1/query_service.grpc.pb.h"

namespace weir::aggregator {

struct QueryServiceOptions {
  // Whose series are answered; credentials do not tell tenants apart yet.
  std::string tenant;
  QueryLimits limits;
  // Queries at once, and those that wait. Each may hold an answer of
  // limits.max_answer_bins in memory.
  int threads = 2;
  int max_queued_queries = 64;
  // Where the units of canonical metrics are from; null for nowhere. Outlives the
  // service.
  const AliasTable* aliases = nullptr;
  // How many series there are, from whoever keeps the index; may wait for it.
  // Without it ListTopSeries is Unavailable.
  std::function<absl::StatusOr<SeriesUsage>(const UsageQuery&)> usage;
  TopSeriesLimits top_series_limits;
  // What a refused client waits before it tries again.
  absl::Duration retry_delay = absl::Seconds(1);
};

class QueryService final
    : public v1::QueryService::WithRawCallbackMethod_QueryWindow<
          v1::QueryService::WithRawCallbackMethod_ListSeries<
              v1::QueryService::WithRawCallbackMethod_ListTopSeries<v1::QueryService::Service>>> {
 public:
  // All outlive this service, and this service the server it is registered with.
  QueryService(QueryServiceOptions options, store::Store& store, const TierTable& tiers,
               Clock& clock);

  // The calls themselves, on the caller's thread. Errors carry the details that
  // error_reason.proto promises.
  absl::Status Answer(const v1::QueryWindowRequest& request, v1::QueryWindowResponse* response);
  absl::Status Answer(const v1::ListSeriesRequest& request, v1::ListSeriesResponse* response);
  absl::Status Answer(const v1::ListTopSeriesRequest& request, v1::ListTopSeriesResponse* response);

  grpc::ServerUnaryReactor* QueryWindow(grpc::CallbackServerContext* context,
                                        const grpc::ByteBuffer* bytes,
                                        grpc::ByteBuffer* out) override;
  grpc::ServerUnaryReactor* ListSeries(grpc::CallbackServerContext* context,
                                       const grpc::ByteBuffer* bytes,
                                       grpc::ByteBuffer* out) override;
  grpc::ServerUnaryReactor* ListTopSeries(grpc::CallbackServerContext* context,
                                          const grpc::ByteBuffer* bytes,
                                          grpc::ByteBuffer* out) override;

  // Answers what is queued; later calls are refused with SHUTTING_DOWN.
  // Idempotent.
  void Stop();

 private:
  // Parses the request and answers it on the pool, then finishes the call.
  template <typename Request, typename Response>
  grpc::ServerUnaryReactor* Submit(grpc::CallbackServerContext* context,
                                   const grpc::ByteBuffer* bytes, grpc::ByteBuffer* out);

  const QueryServiceOptions options_;
  store::Store& store_;
  const TierTable& tiers_;
  Clock& clock_;
  std::atomic<bool> stopped_ = false;
  WorkerPool pool_;
};

}  // namespace weir::aggregator
