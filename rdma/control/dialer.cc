#include "rdma/control/dialer.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <string>

namespace rram {

namespace {

// The endpoint's hosts, each as an endpoint of its own.
std::vector<Endpoint> single_hosts(const Endpoint& endpoint) {
  std::vector<Endpoint> singles(1 + endpoint.more_hosts.size(), endpoint);
  for (Endpoint& single : singles) single.more_hosts.clear();
  for (std::size_t i = 0; i < endpoint.more_hosts.size(); ++i) {
    singles[i + 1].host = endpoint.more_hosts[i];
  }
  return singles;
}

// Why every attempt failed. The addresses of one host fail alike: that is said once.
class Failures {
 public:
  void add(Error failure) {
    if (!messages_.empty() && messages_.back() == failure.message) return;
    if (messages_.empty()) code_ = failure.code;
    messages_.push_back(std::move(failure.message));
  }
  [[nodiscard]] Error error() const {
    return {code_, fmt::format("{}", fmt::join(messages_, "; "))};
  }

 private:
  ErrorCode code_ = ErrorCode::kNotFound;
  std::vector<std::string> messages_;
};

}  // namespace

Task<Result<std::vector<Dialer::Way>>> Dialer::find_ways(EventLoop& loop,
                                                         std::uint64_t deadline_ns) const {
  std::vector<Way> ways;
  Failures failures;
  std::size_t host = 0;
  for (const Endpoint& single : single_hosts(endpoint_)) {
    Result<std::vector<SocketAddress>> found = co_await resolve(loop, single, deadline_ns);
    if (!found) {
      failures.add(std::move(found.error()));
      continue;
    }
    for (const SocketAddress& address : *found) ways.push_back({host, single, address});
    ++host;
  }
  if (ways.empty()) co_return std::unexpected(failures.error());
  co_return std::move(ways);
}

// All ways, those of the host whose turn it is first.
std::vector<const Dialer::Way*> Dialer::in_turn(const std::vector<Way>& ways, std::size_t turn) {
  std::vector<const Way*> ordered;
  ordered.reserve(ways.size());
  const std::size_t hosts = ways.back().host + 1;
  for (std::size_t i = 0; i < hosts; ++i) {
    for (const Way& way : ways) {
      if (way.host == (turn + i) % hosts) ordered.push_back(&way);
    }
  }
  return ordered;
}

Task<Result<std::unique_ptr<ByteChannel>>> Dialer::dial(EventLoop& loop,
                                                        std::optional<LeaseId> lease,
                                                        std::uint64_t deadline_ns) {
  std::vector<Way> found;
  if (ways_.empty()) {
    Result<std::vector<Way>> looked_up = co_await find_ways(loop, deadline_ns);
    if (!looked_up) co_return std::unexpected(looked_up.error());
    found = std::move(*looked_up);
  }
  const std::vector<const Way*> ways =
      in_turn(ways_.empty() ? found : ways_, lease ? turn_++ : std::size_t{0});
  Failures failures;
  for (std::size_t i = 0; i < ways.size(); ++i) {
    const Way& way = *ways[i];
    const std::uint64_t now_ns = loop.now_ns();
    const std::uint64_t left_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
    Result<std::unique_ptr<ByteChannel>> channel = co_await connect(
        loop, way.endpoint, way.address, lease, now_ns + left_ns / (ways.size() - i));
    if (channel) {
      if (ways_.empty()) remember(std::move(found), way);
      co_return std::move(channel);
    }
    failures.add(std::move(channel.error()));
  }
  co_return std::unexpected(failures.error());
}

// Of the host that has answered, only the address that did.
void Dialer::remember(std::vector<Way> found, Way answered) {
  std::erase_if(found, [&answered](const Way& way) { return way.host == answered.host; });
  const auto place =
      std::ranges::find_if(found, [&answered](const Way& way) { return way.host > answered.host; });
  found.insert(place, std::move(answered));
  ways_ = std::move(found);
}

}  // namespace rram
