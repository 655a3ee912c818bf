#include "base/result.h"

#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <system_error>

namespace rram {

std::string_view error_code_name(ErrorCode code) {
  static constexpr std::array<std::string_view, 30> kNames = {"invalid-argument",
                                                              "refused",
                                                              "disconnected",
                                                              "timed-out",
                                                              "cancelled",
                                                              "protocol",
                                                              "lost",
                                                              "unavailable",
                                                              "io",
                                                              "not-found",
                                                              "exists",
                                                              "not-directory",
                                                              "is-directory",
                                                              "not-empty",
                                                              "name-too-long",
                                                              "too-many-links",
                                                              "no-space",
                                                              "file-too-big",
                                                              "not-permitted",
                                                              "access-denied",
                                                              "not-supported",
                                                              "no-attribute",
                                                              "range",
                                                              "argument-too-large",
                                                              "no-such-offset",
                                                              "read-only",
                                                              "would-block",
                                                              "stale",
                                                              "cross-device",
                                                              "loop"};
  static_assert(kNames.size() == static_cast<std::size_t>(ErrorCode::kLoop) + 1);
  return kNames.at(static_cast<std::size_t>(code));
}

std::unexpected<Error> fail_errno(int errno_value, std::string_view what) {
  ErrorCode code = ErrorCode::kIo;
  switch (errno_value) {
    case ECONNREFUSED:
    case EACCES:
    case EPERM:
      code = ErrorCode::kRefused;
      break;
    case ECONNRESET:
    case EPIPE:
    case ENOTCONN:
    case ECONNABORTED:
    case EHOSTUNREACH:
    case ENETUNREACH:
      code = ErrorCode::kDisconnected;
      break;
    case ETIMEDOUT:
      code = ErrorCode::kTimedOut;
      break;
    case ECANCELED:
      code = ErrorCode::kCancelled;
      break;
    case ENOMEM:
    case ENOSYS:
    case EMFILE:
    case ENFILE:
      code = ErrorCode::kUnavailable;
      break;
    case ENOENT:
      code = ErrorCode::kNotFound;
      break;
    case EINVAL:
      code = ErrorCode::kInvalidArgument;
      break;
    default:
      break;
  }
  return fail(code, fmt::format("{}: {}", what, std::generic_category().message(errno_value)));
}

}  // namespace rram
