#include "common/rpc/event_loop.h"

#include <grpc/support/time.h>
#include <grpcpp/alarm.h>

#include <utility>

#include "common/base/check.h"

namespace weir::rpc {
namespace {

thread_local const EventLoop* current_loop = nullptr;

}  // namespace

// Wakes the loop for posted functions. One alarm serves all: it is armed by the
// post that finds it idle, and idle again once the loop has taken the batch.
class EventLoop::Wakeup final : public Tag {
 public:
  explicit Wakeup(EventLoop* loop) : loop_(loop) {}
  void Arm() {
    alarm_.Set(loop_->queue_.get(), gpr_inf_past(GPR_CLOCK_REALTIME), static_cast<Tag*>(this));
  }
  void Complete(bool) override { loop_->RunPosted(); }

 private:
  EventLoop* const loop_;
  grpc::Alarm alarm_;
};

// Owns itself until its alarm has been delivered.
class EventLoop::Timer final : public Tag {
 public:
  Timer(EventLoop* loop, std::function<void()> function)
      : loop_(loop), function_(std::move(function)) {}
  void Arm(absl::Time when) {
    const timespec spec = absl::ToTimespec(when);
    gpr_timespec deadline = gpr_inf_future(GPR_CLOCK_REALTIME);
    if (when < absl::FromUnixSeconds(int64_t{1} << 40)) {
      deadline = {spec.tv_sec, static_cast<int32_t>(spec.tv_nsec), GPR_CLOCK_REALTIME};
    }
    alarm_.Set(loop_->queue_.get(), deadline, static_cast<Tag*>(this));
  }
  void Cancel() { alarm_.Cancel(); }
  void Complete(bool ok) override {
    {
      MutexLock lock(&loop_->mu_);
      loop_->timers_.erase(this);
    }
    if (ok) function_();
    delete this;
  }

 private:
  EventLoop* const loop_;
  const std::function<void()> function_;
  grpc::Alarm alarm_;
};

EventLoop::EventLoop(std::unique_ptr<grpc::CompletionQueue> queue)
    : queue_(std::move(queue)), wakeup_(std::make_unique<Wakeup>(this)) {}

EventLoop::~EventLoop() { Stop(); }

void EventLoop::Start() {
  WEIR_CHECK(!thread_.joinable() && !stopped_);
  thread_ = std::thread([this] { Run(); });
}

void EventLoop::Stop() {
  if (stopped_) return;
  WEIR_CHECK_MSG(!InLoop(), "an event loop cannot wait for itself");
  // A loop that never ran still has to drain its queue.
  if (!thread_.joinable()) Start();
  stopped_ = true;
  {
    MutexLock lock(&mu_);
    closed_ = true;
    for (Timer* timer : timers_) timer->Cancel();
  }
  queue_->Shutdown();
  thread_.join();
}

bool EventLoop::Post(std::function<void()> function) {
  MutexLock lock(&mu_);
  if (closed_) return false;
  posted_.push_back(std::move(function));
  if (armed_) return true;
  armed_ = true;
  // Under the lock, because Stop must not shut the queue down in between. This
  // only enqueues an event; it calls nothing of ours.
  wakeup_->Arm();
  return true;
}

bool EventLoop::PostAt(absl::Time when, std::function<void()> function) {
  auto timer = std::make_unique<Timer>(this, std::move(function));
  MutexLock lock(&mu_);
  if (closed_) return false;
  timers_.insert(timer.get());
  timer.release()->Arm(when);  // under the lock for the reason above
  return true;
}

bool EventLoop::InLoop() const { return current_loop == this; }

void EventLoop::Run() {
  current_loop = this;
  void* tag;
  bool ok;
  while (queue_->Next(&tag, &ok)) static_cast<Tag*>(tag)->Complete(ok);
  current_loop = nullptr;
}

void EventLoop::RunPosted() {
  std::vector<std::function<void()>> batch;
  {
    MutexLock lock(&mu_);
    batch.swap(posted_);
    armed_ = false;
  }
  for (auto& function : batch) function();
}

}  // namespace weir::rpc
