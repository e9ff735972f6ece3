#include <cstdio>

#include "common/base/clock.h"
#include "common/base/shutdown_signal.h"
#include "common/config/loader.h"
#include "common/telemetry/log.h"
#include "common/telemetry/metrics.h"
#include "services/aggregator/app.h"

int main(int argc, char** argv) {
  using weir::telemetry::Level;
  using weir::telemetry::Log;
  weir::BlockShutdownSignals();
  weir::aggregator::Config config;
  weir::config::Loader loader("weir-aggregator",
                              "Folds samples into exact windows and answers queries.");
  config.Bind(loader);
  const auto loaded = loader.Load(argc, argv);
  if (!loaded.ok()) {
    std::fprintf(stderr, "%s\n", std::string(loaded.status().message()).c_str());
    return 2;
  }
  if (loaded->print_and_exit.has_value()) {
    std::fputs(loaded->print_and_exit->c_str(), stdout);
    return 0;
  }
  if (!loaded->positional.empty()) {
    std::fprintf(stderr, "'%s' is no flag; see --help\n", loaded->positional[0].c_str());
    return 2;
  }
  weir::telemetry::SetLogLevel(*weir::telemetry::LevelFromName(config.log_level));
  weir::Clock& clock = weir::Clock::System();
  weir::telemetry::Registry registry;
  weir::telemetry::AddProcessMetrics(registry, "weir-aggregator");
  weir::aggregator::App app(config, clock, registry);
  if (const absl::Status started = app.Start(); !started.ok()) {
    Log(Level::kError, "aggregator", "cannot start", {{"error", started}});
    return absl::IsCancelled(started) ? 0 : 1;
  }
  weir::WaitForShutdownSignal();
  Log(Level::kInfo, "aggregator", "stopping");
  app.Stop(clock.Now() + absl::Seconds(10));
  Log(Level::kInfo, "aggregator", "stopped");
  return app.fenced() ? 1 : 0;
}
