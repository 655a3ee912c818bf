// Owner of one file descriptor: the only place that closes one.
#pragma once

#include <unistd.h>

#include <memory>

namespace rram {

namespace detail {
// A nullable wrapper so that unique_ptr can own an int for which 0 is a valid value.
class FdHandle {
 public:
  FdHandle(std::nullptr_t = nullptr) {}  // NOLINT(google-explicit-constructor)
  explicit FdHandle(int fd) : fd_(fd) {}
  [[nodiscard]] int value() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  friend bool operator==(FdHandle, FdHandle) = default;

 private:
  int fd_ = -1;
};

struct FdCloser {
  using pointer = FdHandle;
  void operator()(FdHandle fd) const { ::close(fd.value()); }
};
}  // namespace detail

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(detail::FdHandle(fd)) {}

  // The descriptor, or -1.
  [[nodiscard]] int get() const { return fd_.get().value(); }
  [[nodiscard]] int release() { return fd_.release().value(); }
  void reset(int fd = -1) { fd_.reset(detail::FdHandle(fd)); }
  explicit operator bool() const { return get() >= 0; }

 private:
  std::unique_ptr<detail::FdHandle, detail::FdCloser> fd_;
};

}  // namespace rram
