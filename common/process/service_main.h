// The main function of a service that is a process of its own: configuration,
// logging, metrics, a start, a signal, an orderly end. What is left to the
// service is its App:
//
//   App(Config config, Clock& clock, telemetry::Registry& registry);
//   absl::Status Start();             Cancelled: a signal came while it waited
//   void Stop(absl::Time deadline);
//   int exit_status() const;          after Stop
//
// and its Config: Bind(config::Loader&), log_level.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/base/allocator.h"
#include "common/base/clock.h"
#include "common/base/shutdown_signal.h"
#include "common/config/loader.h"
#include "common/telemetry/log.h"
#include "common/telemetry/metrics.h"

namespace weir {

// How long a service may take to end after a signal.
inline constexpr absl::Duration kStopPatience = absl::Seconds(10);

// `name` is "collector"; the program is weir-collector. Returns the status to
// exit with: 0 after an orderly end, 1 for one that was not, 2 for a
// configuration that cannot be.
template <typename App, typename Config>
int ServiceMain(int argc, char** argv, const std::string& name, const std::string& summary) {
  using telemetry::Level;
  using telemetry::Log;
  KeepFreedMemory();
  BlockShutdownSignals();
  Config config;
  config::Loader loader("weir-" + name, summary);
  config.Bind(loader);
  const auto arguments = std::vector<std::string>(argv + 1, argv + argc);
  if (const auto exit = loader.LoadOrReport(arguments); exit.has_value()) return *exit;
  telemetry::SetLogLevel(*telemetry::LevelFromName(config.log_level));
  Clock& clock = Clock::System();
  telemetry::Registry registry;
  telemetry::AddProcessMetrics(registry, "weir-" + name);
  App app(config, clock, registry);
  if (const absl::Status started = app.Start(); !started.ok()) {
    Log(Level::kError, name, "cannot start", {{"error", started}});
    return absl::IsCancelled(started) ? 0 : 1;
  }
  WaitForShutdownSignal();
  Log(Level::kInfo, name, "stopping");
  app.Stop(clock.Now() + kStopPatience);
  Log(Level::kInfo, name, "stopped");
  return app.exit_status();
}

}  // namespace weir
