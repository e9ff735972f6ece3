#include "services/standalone/load_report.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace weir::standalone {
namespace {

// 1234567 -> "1.23M".
std::string Short(double value) {
  if (value >= 1e9) return absl::StrFormat("%.2fG", value / 1e9);
  if (value >= 1e6) return absl::StrFormat("%.2fM", value / 1e6);
  if (value >= 1e4) return absl::StrFormat("%.1fk", value / 1e3);
  return absl::StrFormat("%.0f", value);
}

std::string ShortSeconds(double seconds) {
  if (seconds >= 1) return absl::StrFormat("%.2fs", seconds);
  if (seconds >= 1e-3) return absl::StrFormat("%.2fms", seconds * 1e3);
  return absl::StrFormat("%.0fus", seconds * 1e6);
}

std::string Latencies(const Sketch& latency) {
  if (latency.count() == 0) return "no ack";
  return absl::StrCat("ack p50 ", ShortSeconds(latency.Quantile(0.5)), " p99 ",
                      ShortSeconds(latency.Quantile(0.99)));
}

std::string JsonString(absl::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      absl::StrAppendFormat(&quoted, "\\u%04x", c);
    } else {
      quoted += c;
    }
  }
  return quoted + '"';
}

double PerSecond(int64_t count, absl::Duration elapsed) {
  const double seconds = absl::ToDoubleSeconds(elapsed);
  return seconds > 0 ? static_cast<double>(count) / seconds : 0;
}

}  // namespace

void LoadCounts::Merge(const LoadCounts& other) {
  acked_samples += other.acked_samples;
  acked_batches += other.acked_batches;
  rejected_samples += other.rejected_samples;
  for (const auto& [reason, count] : other.rejected_by_reason) rejected_by_reason[reason] += count;
  sent_batches += other.sent_batches;
  outstanding_batches += other.outstanding_batches;
  outstanding_samples += other.outstanding_samples;
  rewinds += other.rewinds;
  disconnects += other.disconnects;
  ack_latency.Merge(other.ack_latency);
  last_ack_time = std::max(last_ack_time, other.last_ack_time);
}

std::string ProgressLine(absl::Duration elapsed, const LoadCounts& total,
                         const LoadCounts& interval, absl::Duration interval_duration) {
  std::string line = absl::StrFormat(
      "%4.0fs  %s samples acked  %s/s  %s  %s outstanding  %d rewinds",
      absl::ToDoubleSeconds(elapsed), Short(static_cast<double>(total.acked_samples)),
      Short(PerSecond(interval.acked_samples, interval_duration)), Latencies(interval.ack_latency),
      Short(static_cast<double>(total.outstanding_samples)), total.rewinds);
  if (total.disconnects > 0) absl::StrAppend(&line, "  ", total.disconnects, " disconnects");
  if (total.rejected_samples > 0) absl::StrAppend(&line, "  ", total.rejected_samples, " rejected");
  return line;
}

std::string SummaryText(const LoadOptions& options, const LoadSummary& summary) {
  const LoadCounts& counts = summary.counts;
  const double seconds = absl::ToDoubleSeconds(summary.elapsed);
  std::string text = absl::StrFormat(
      "%d samples in %d batches acknowledged (%s) by %s in %.2f s: %s samples/s\n",
      counts.acked_samples, counts.acked_batches,
      options.ack_level == v1::ACK_LEVEL_COMMITTED ? "committed" : "durable", options.target,
      seconds, Short(PerSecond(counts.acked_samples, summary.elapsed)));
  if (counts.ack_latency.count() > 0) {
    absl::StrAppend(&text, "latency ", options.rate > 0 ? "from the time due" : "from sending",
                    ": p50 ", ShortSeconds(counts.ack_latency.Quantile(0.5)), ", p90 ",
                    ShortSeconds(counts.ack_latency.Quantile(0.9)), ", p99 ",
                    ShortSeconds(counts.ack_latency.Quantile(0.99)), ", max ",
                    ShortSeconds(counts.ack_latency.Quantile(1)), "\n");
  }
  absl::StrAppendFormat(&text, "%d batches sent, %d rewinds, %d disconnects, %.2f s of CPU here\n",
                        counts.sent_batches, counts.rewinds, counts.disconnects,
                        absl::ToDoubleSeconds(summary.client_cpu_time));
  for (const auto& [reason, count] : counts.rejected_by_reason) {
    absl::StrAppend(&text, count, " samples rejected: ", reason, "\n");
  }
  if (!summary.complete) {
    absl::StrAppend(&text, counts.outstanding_samples, " samples in ", counts.outstanding_batches,
                    " batches NOT acknowledged",
                    summary.error.empty() ? "" : absl::StrCat(": ", summary.error), "\n");
  }
  return text;
}

std::string SummaryJson(const LoadOptions& options, const LoadSummary& summary) {
  const LoadCounts& counts = summary.counts;
  std::string json = absl::StrFormat(
      R"({"target":%s,"connections":%d,"series":%d,"batch_size":%d,"rate":%g,"pipeline":%d,)"
      R"("seed":%d,"ack":"%s","elapsed_seconds":%.6f,"acked_samples":%d,"acked_batches":%d,)"
      R"("samples_per_second":%.1f,"rejected_samples":%d,"sent_batches":%d,"rewinds":%d,)"
      R"("disconnects":%d,"outstanding_samples":%d,"client_cpu_seconds":%.6f,"complete":%s,)"
      R"("error":%s)",
      JsonString(options.target), options.connections, options.series, options.batch_size,
      options.rate, options.PipelineDepth(), options.seed,
      options.ack_level == v1::ACK_LEVEL_COMMITTED ? "committed" : "durable",
      absl::ToDoubleSeconds(summary.elapsed), counts.acked_samples, counts.acked_batches,
      PerSecond(counts.acked_samples, summary.elapsed), counts.rejected_samples,
      counts.sent_batches, counts.rewinds, counts.disconnects, counts.outstanding_samples,
      absl::ToDoubleSeconds(summary.client_cpu_time), summary.complete ? "true" : "false",
      JsonString(summary.error));
  if (counts.ack_latency.count() > 0) {
    for (const auto& [name, q] :
         {std::pair{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"max", 1.0}}) {
      absl::StrAppendFormat(&json, R"(,"ack_%s_seconds":%.9f)", name,
                            counts.ack_latency.Quantile(q));
    }
  }
  return json + "}";
}

}  // namespace weir::standalone
