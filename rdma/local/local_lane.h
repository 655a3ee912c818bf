// The lane of a LocalLease: memcpy inside submit(). It never breaks by itself.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "rdma/transport.h"

namespace rram {

class LocalLane final : public Lane {
 public:
  // `memory`: all regions, one after the other, equally long. Empty: the null transport.
  LocalLane(EventLoop& loop, std::span<std::byte> memory) : Lane(loop), memory_(memory) {}

  [[nodiscard]] std::string_view transport_name() const override {
    return memory_.empty() ? "null" : "local";
  }
  Task<> close() override;

 private:
  void do_submit(Operation& operation) override;

  std::span<std::byte> memory_;
};

}  // namespace rram
