#include "common/client/recorder_core.h"

#include <algorithm>
#include <utility>

#include "common/base/check.h"

namespace weir::client {
namespace {

// A reference, a time and a value, at most.
constexpr int64_t kSampleBytes = 25;
// Everything else in a message.
constexpr int64_t kEnvelopeBytes = 128;

}  // namespace

RecorderCore::RecorderCore(RecorderCoreOptions options)
    : options_(std::move(options)),
      session_(options_.session),
      max_batch_bytes_(options_.max_batch_bytes) {
  WEIR_CHECK(options_.definition_bytes != nullptr && options_.max_batch_samples >= 1);
}

void RecorderCore::Add(absl::Span<const BufferedSample> samples) {
  pending_.insert(pending_.end(), samples.begin(), samples.end());
  added_ += static_cast<int64_t>(samples.size());
}

void RecorderCore::OnOpened(const SessionOpened& opened, absl::Time now) {
  session_.OnOpened(opened.last_sequence, now);
  if (opened.max_message_bytes > 0) {
    max_batch_bytes_ = std::min(options_.max_batch_bytes, opened.max_message_bytes);
  }
}

void RecorderCore::OnAcked(const BatchesAcked& acked, absl::Time now) {
  int64_t samples = 0;
  for (int64_t left = session_.OnAcked(acked.sequence, now); left > 0; --left) {
    samples += static_cast<int64_t>(batches_.front().size());
    batches_.pop_front();
  }
  resolved_ += samples;
  for (const Rejection& rejection : acked.rejections) {
    const int64_t count = std::clamp<int64_t>(rejection.count, 0, samples);
    if (count > 0) rejected_[rejection.reason] += count;
    samples -= count;
  }
  acked_ += samples;
}

void RecorderCore::OnRewind(const Rewind& rewind, absl::Time now) {
  session_.OnRewind(rewind.next_sequence, rewind.retry_delay, now);
}

void RecorderCore::OnClosed(const StreamEnd& end, absl::Time now) {
  ++disconnects_;
  session_.OnClosed(end, now);
}

RecorderCore::Action RecorderCore::Next(absl::Time now) {
  while (true) {
    const Action action = session_.Next(now, Ready());
    switch (action.kind) {
      case Action::kGiveUp:
        GiveUp();
        break;
      case Action::kEmpty: {
        auto& batch =
            batches_[static_cast<size_t>(action.sequence - session_.acked_sequence() - 1)];
        const auto count = static_cast<int64_t>(batch.size());
        refused_ += count;
        resolved_ += count;
        batch.clear();
        break;
      }
      case Action::kSend:
        if (action.first) {
          // A session begins with an empty batch.
          batches_.push_back(action.sequence == 1 ? std::vector<BufferedSample>() : TakeBatch());
        }
        return action;
      case Action::kWait:
      case Action::kConnect:
      case Action::kOpen:
      case Action::kCancel:
        return action;
    }
  }
}

void RecorderCore::GiveUp() {
  for (const auto& batch : batches_) {
    lost_ += static_cast<int64_t>(batch.size());
    resolved_ += static_cast<int64_t>(batch.size());
  }
  batches_.clear();
}

bool RecorderCore::Ready() const {
  const auto pending = static_cast<int64_t>(pending_.size());
  return pending >= options_.max_batch_samples || (pending > 0 && added_ - pending < cut_through_);
}

std::vector<BufferedSample> RecorderCore::TakeBatch() {
  ++cut_number_;
  std::vector<BufferedSample> batch;
  batch.reserve(std::min(pending_.size(), static_cast<size_t>(options_.max_batch_samples)));
  int64_t bytes = kEnvelopeBytes;
  while (!pending_.empty() && static_cast<int64_t>(batch.size()) < options_.max_batch_samples) {
    const BufferedSample& sample = pending_.front();
    bytes += kSampleBytes;
    // A batch must fit even when it is the first on a new stream, and so has to
    // define all its series.
    if (sample.series >= counted_in_.size()) counted_in_.resize(sample.series + 1);
    if (std::exchange(counted_in_[sample.series], cut_number_) != cut_number_) {
      bytes += options_.definition_bytes(sample.series);
    }
    if (bytes > max_batch_bytes_ && !batch.empty()) break;
    batch.push_back(sample);
    pending_.pop_front();
  }
  return batch;
}

}  // namespace weir::client
