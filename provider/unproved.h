// Places for connections that have not shown yet what they are for: so many of each network
// address. Who opens connections and stays silent takes the places of his own address and nobody
// else's.
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

namespace rram {

// Any thread.
class UnprovedPlaces {
 public:
  explicit UnprovedPlaces(std::uint32_t max_per_address)
      : counts_(std::make_shared<Counts>()), max_per_address_(max_per_address) {}

  // A place for as long as it, or a copy of it, exists; null: that address has no more.
  using Place = std::shared_ptr<const void>;
  [[nodiscard]] Place take(const std::string& address);

 private:
  // Outlived by no place, whoever goes first.
  struct Counts {
    std::mutex mutex;  // leaf; guards what follows
    boost::unordered_flat_map<std::string, std::uint32_t> by_address;
  };

  std::shared_ptr<Counts> counts_;
  const std::uint32_t max_per_address_;
};

}  // namespace rram
