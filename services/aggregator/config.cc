#include "services/aggregator/config.h"

#include <unistd.h>

#include "common/base/strings.h"

namespace weir::aggregator {

using config::Unit;

void Config::Bind(config::Loader& loader) {
  loader.Add("listen", &listen,
             {.help = "Addresses for queries and for collectors; port 0 lets the kernel choose.",
              .min = 1});
  loader.Add("ops_listen", &ops_listen,
             {.help = "Address of /metrics and /healthz; empty for none."});
  loader.Add("insecure", &insecure,
             {.help = "Allows listening where other machines can connect, in plain text."});
  loader.Add(
      "store.url", &store_url,
      {.help = "sqlite:PATH, or postgresql://user:password@host:port/database.", .secret = true});
  loader.Add("store.schema", &store_schema,
             {.help = "The PostgreSQL schema that holds the tables."});
  loader.Add("store.open_timeout", &store_open_timeout,
             {.help = "How long to try to open a store that is not there yet.", .min = 0});
  loader.Add(
      "slot_count", &slot_count,
      {.help = "How series are divided; fixed when the store is created.", .min = 1, .max = 1024});
  loader.Add("flush_interval", &flush_interval,
             {.help = "How often to commit while a commit takes under a tenth of it.",
              .min = 0.01,
              .max = 60});
  loader.Add(
      "max_flush_interval", &max_flush_interval,
      {.help = "What flush_interval is stretched to at most under load.", .min = 0.01, .max = 600});
  loader.Add("flush_memory_bytes", &flush_memory_bytes,
             {.help = "Commit early when uncommitted bins take this much.",
              .unit = Unit::kBytes,
              .min = 1 << 20});
  loader.Add("window_bytes", &window_bytes,
             {.help = "What one collector may have sent and not seen committed.",
              .unit = Unit::kBytes,
              .min = 1 << 16,
              .max = 48 << 20});
  loader.Add("derive_delay", &derive_delay,
             {.help = "Coarser bins are derived this long after they are complete.", .min = 0});
  loader.Add("silent_after", &silent_after,
             {.help = "A collector not heard for this long is listed as missing.", .min = 1});
  loader.Add("max_series_per_tenant", &max_series_per_tenant,
             {.help = "Later series are summed up in overflow series.", .min = 1});
  loader.Add(
      "max_series_per_metric", &max_series_per_metric,
      {.help = "Later series of one metric are summed up in its overflow series.", .min = 1});
  loader.Add("query_threads", &query_threads,
             {.help = "Queries answered at once.", .min = 1, .max = 256});
  loader.Add("aliases.file", &aliases_file,
             {.help = "Aliases beside those shipped, as YAML: the collectors' file."});
  loader.Add(
      "log_level", &log_level,
      {.help = "The least severe lines logged.", .choices = {"debug", "info", "warning", "error"}});
}

CoreOptions Config::core_options() const {
  char host[256] = "?";
  gethostname(host, sizeof host - 1);
  CoreOptions options;
  options.owner = StrCat(host, ":", getpid());
  options.slot_count = slot_count;
  options.series_limits = {.max_series_per_tenant = max_series_per_tenant,
                           .max_series_per_metric = max_series_per_metric};
  options.flush_interval = flush_interval;
  options.max_flush_interval = std::max(flush_interval, max_flush_interval);
  options.flush_memory_bytes = flush_memory_bytes;
  options.window_bytes = window_bytes;
  options.derive_delay = derive_delay;
  options.silent_after = silent_after;
  return options;
}

}  // namespace weir::aggregator
