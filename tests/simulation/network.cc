#include "tests/simulation/network.h"

#include <utility>

namespace weir::simulation {

ToAggregator::ToAggregator(const delivery::FromCollector& message) : message_(message) {
  auto* frame = std::get_if<delivery::Frame>(&message_);
  if (frame == nullptr) return;
  size_t size = 0;
  for (const delivery::SlotRange& range : frame->ranges) size += range.subframe.size();
  bytes_.reserve(size);
  for (delivery::SlotRange& range : frame->ranges) {
    const size_t offset = bytes_.size();
    bytes_.insert(bytes_.end(), range.subframe.begin(), range.subframe.end());
    range.subframe = std::string_view(bytes_.data() + offset, range.subframe.size());
  }
}

// Mostly quick, at times slow: that is what lets connections overtake each other.
absl::Duration Network::Delay() {
  const absl::Duration most = env_.NetworkDelay();
  return env_.random.OneIn(50) ? env_.Between(most, 10 * most)
                               : env_.Between(absl::Microseconds(50), most);
}

LinkId Network::Open(Endpoint& client, Endpoint* server) {
  Link& link = links_.emplace_back();
  link.ends[0] = &client;
  link.ends[1] = server;
  const LinkId id = links_.size();
  if (server == nullptr) {
    link.broken = true;
    env_.queue.After(Delay(), *this, {.kind = kClosed, .a = id, .b = 0});
  } else {
    const absl::Time opened = env_.now() + Delay();
    link.to[0].last = link.to[1].last = opened;
    env_.queue.At(opened, *this, {.kind = kOpened, .a = id, .b = 0});
  }
  return id;
}

void Network::Send(LinkId id, const Endpoint& from, Message message) {
  Link& link = Find(id);
  const size_t side = link.ends[0] == &from ? 1 : 0;  // where it goes
  if (link.ends[1 - side] != &from) return;           // a process that is gone
  Direction& direction = link.to[side];
  if (direction.dark) return;
  const absl::Time arrival = std::max(direction.last + absl::Nanoseconds(1), env_.now() + Delay());
  if (arrival > direction.cut) return;
  direction.last = arrival;
  size_t place = pool_.size();
  if (free_.empty()) {
    pool_.push_back({std::move(message), arrival});
  } else {
    place = free_.back();
    free_.pop_back();
    pool_[place] = {std::move(message), arrival};
  }
  env_.queue.At(arrival, *this, {.kind = kDeliver, .a = id, .b = place * 2 + side});
}

void Network::Break(LinkId id) {
  Link& link = Find(id);
  if (link.broken) return;
  link.broken = true;
  for (size_t side = 0; side < 2; ++side) {
    Direction& direction = link.to[side];
    const absl::Time now = env_.now();
    direction.cut =
        direction.last > now ? env_.Between(absl::ZeroDuration(), direction.last - now) + now : now;
    // An end may hear of it much later than the other.
    const absl::Duration notice =
        env_.random.OneIn(8) ? env_.Between(absl::ZeroDuration(), absl::Seconds(5)) : Delay();
    env_.queue.At(direction.cut + notice, *this, {.kind = kClosed, .a = id, .b = side});
  }
}

void Network::Forget(const Endpoint& endpoint) {
  for (size_t i = 0; i < links_.size(); ++i) {
    Link& link = links_[i];
    for (Endpoint*& end : link.ends) {
      if (end != &endpoint) continue;
      Break(i + 1);
      end = nullptr;
    }
  }
}

void Network::Darken(LinkId id, bool to_server) { Find(id).to[to_server ? 1 : 0].dark = true; }

bool Network::alive(LinkId id) const { return id != 0 && !links_[id - 1].broken; }

void Network::OnEvent(const Event& event) {
  Link& link = Find(event.a);
  const size_t side = event.b % 2;
  Endpoint* const end = link.ends[side];
  if (end != nullptr && env_.now() < end->paused_until()) {
    env_.queue.At(end->paused_until(), *this, event);
    return;
  }
  switch (event.kind) {
    case kOpened:
      if (end != nullptr && !link.broken) end->OnLinkOpened(event.a);
      return;
    case kDeliver: {
      const Flying flying = std::move(pool_[event.b / 2]);
      free_.push_back(event.b / 2);
      const Direction& direction = link.to[side];
      if (end == nullptr || direction.dark || flying.arrival > direction.cut) return;
      end->OnLinkMessage(event.a, flying.message);
      return;
    }
    case kClosed:
      if (end == nullptr) return;
      link.ends[side] = nullptr;
      end->OnLinkClosed(event.a);
      return;
  }
}

}  // namespace weir::simulation
