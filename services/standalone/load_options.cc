#include "services/standalone/load_options.h"

#include <cmath>
#include <string_view>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/base/status_macros.h"
#include "common/config/loader.h"

namespace weir::standalone {

absl::StatusOr<std::array<double, kMaxKind>> ParseKinds(std::string_view text) {
  std::array<double, kMaxKind> weights = {};
  double total = 0;
  for (const absl::string_view part :
       absl::StrSplit(absl::string_view(text.data(), text.size()), ',', absl::SkipWhitespace())) {
    const std::pair<absl::string_view, absl::string_view> pair =
        absl::StrSplit(part, absl::MaxSplits(':', 1));
    double weight = 1;
    if (part.find(':') != part.npos &&
        (!absl::SimpleAtod(pair.second, &weight) || !std::isfinite(weight) || weight < 0)) {
      return absl::InvalidArgumentError(absl::StrCat("kinds: not a weight in '", part, "'"));
    }
    bool known = false;
    for (int kind = 1; kind <= kMaxKind; ++kind) {
      const std::string_view name = KindName(static_cast<Kind>(kind));
      if (absl::string_view(name.data(), name.size()) != pair.first) continue;
      weights[kind - 1] += weight;
      total += weight;
      known = true;
    }
    if (!known) {
      return absl::InvalidArgumentError(
          absl::StrCat("kinds: unknown kind '", pair.first,
                       "'; there are gauge, counter, up_down_counter and distribution"));
    }
  }
  if (!(total > 0) || !std::isfinite(total)) {
    return absl::InvalidArgumentError("kinds: at least one weight must be above 0");
  }
  for (double& weight : weights) weight /= total;
  return weights;
}

absl::StatusOr<Lateness> ParseLateness(std::string_view text) {
  absl::string_view rest(text.data(), text.size());
  Lateness lateness;
  lateness.uniform = absl::ConsumePrefix(&rest, "uniform:");
  if (!absl::ParseDuration(rest, &lateness.duration) || lateness.duration < absl::ZeroDuration() ||
      lateness.duration > absl::Hours(24 * 400)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "lateness: '", rest, "' is not a duration from 0s to 9600h, such as 30s or uniform:10m"));
  }
  return lateness;
}

absl::StatusOr<ParsedLoadOptions> ParseLoadOptions(const std::vector<std::string>& arguments) {
  ParsedLoadOptions parsed;
  LoadOptions& options = parsed.options;
  std::string kinds = "gauge,counter,up_down_counter,distribution";
  std::string lateness = "0s";
  std::string ack = "durable";
  config::Loader loader("weir load", "Sends samples to a collector and measures its answers.");
  loader.Add("target", &options.target, {.help = "The collector's address."});
  loader.Add("connections", &options.connections,
             {.help = "Sessions, each on a connection of its own.", .min = 1, .max = 1024});
  loader.Add("series", &options.series,
             {.help = "Distinct series, divided between the connections.", .min = 1});
  loader.Add("batch_size", &options.batch_size,
             {.help = "Samples in a batch.", .min = 1, .max = 65536});
  loader.Add("rate", &options.rate,
             {.help = "Samples a second on a fixed schedule, from which latency is measured; 0 "
                      "sends as fast as acknowledgements come.",
              .min = 0});
  loader.Add("pipeline", &options.pipeline,
             {.help = "The most batches outstanding on a connection; 0 means 8, or 1024 with "
                      "a rate.",
              .min = 0,
              .max = 65536});
  loader.Add(
      "duration", &options.duration,
      {.help = "When to stop sending. 10s when neither this nor samples is given.", .min = 0});
  loader.Add("samples", &options.samples,
             {.help = "Stop after so many samples; 0 means no such limit.", .min = 0});
  loader.Add(
      "stall_timeout", &options.stall_timeout,
      {.help = "Give up when nothing that should be is acknowledged for so long.", .min = 0});
  loader.Add("kinds", &kinds, {.help = "Kinds of the series, with weights: gauge:1,counter:3."});
  loader.Add("integers", &options.integers,
             {.help = "The share of the series with integer values.", .min = 0, .max = 1});
  loader.Add("lateness", &lateness,
             {.help = "How far back event times lie: 30s, or uniform:10m for up to that."});
  loader.Add("seed", &options.seed, {.help = "Decides series, values and lateness."});
  loader.Add("ack", &ack,
             {.help = "What an acknowledgement means.", .choices = {"durable", "committed"}});
  loader.Add("json", &options.json_path, {.help = "Also write the summary to this file."});
  // The environment is left out: variables that set up the services must not
  // change what a load is.
  WEIR_ASSIGN_OR_RETURN(const config::LoadResult result,
                        loader.Load(arguments, /*environment=*/nullptr));
  if (result.print_and_exit.has_value()) {
    parsed.print_and_exit = result.print_and_exit;
    return parsed;
  }
  if (!result.positional.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("unexpected argument '", result.positional.front(), "'"));
  }
  if (absl::StartsWith(options.target, "http://") || absl::StartsWith(options.target, "https://")) {
    return absl::InvalidArgumentError(
        absl::StrCat("target: '", options.target,
                     "' is a URL, and samples go over gRPC: give host:port, such as "
                     "127.0.0.1:4317"));
  }
  WEIR_ASSIGN_OR_RETURN(options.kinds, ParseKinds(kinds));
  WEIR_ASSIGN_OR_RETURN(options.lateness, ParseLateness(lateness));
  options.ack_level = ack == "committed" ? v1::ACK_LEVEL_COMMITTED : v1::ACK_LEVEL_DURABLE;
  if (options.samples == 0 && options.duration == absl::InfiniteDuration()) {
    options.duration = absl::Seconds(10);
  }
  if (options.series < options.connections || options.series > int64_t{options.connections} << 20) {
    return absl::InvalidArgumentError(
        "series: at least one and at most 1048576 for each connection");
  }
  return parsed;
}

}  // namespace weir::standalone
