// The one error type of both daemons. An Error says what failed (a code that a program can act on)
// and how to tell a person (a sentence: what, why, what to do). Codes become errno in exactly one
// place, fusefs/errno_of.h.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace rram {

enum class ErrorCode : std::uint8_t {
  // The outside world: peers, the network, the host.
  kInvalidArgument,  // a value that a user or a peer gave is outside what is allowed
  kRefused,          // the peer or the host said no: admission, key, version, permission
  kDisconnected,     // the peer is gone or cut off; the operation may or may not have happened
  kTimedOut,         // the deadline passed first
  kCancelled,        // the owner is shutting down
  kProtocol,         // the peer sent what the protocol does not allow
  kLost,             // the data's provider came back without it: it will never be readable again
  kUnavailable,      // this host lacks something: a kernel feature, memory, a limit
  kIo,               // a system call failed in a way that nothing above can use

  // The file system: one per errno that the namespace and the volume can answer.
  kNotFound,          // ENOENT
  kExists,            // EEXIST
  kNotDirectory,      // ENOTDIR
  kIsDirectory,       // EISDIR
  kNotEmpty,          // ENOTEMPTY
  kNameTooLong,       // ENAMETOOLONG
  kTooManyLinks,      // EMLINK
  kNoSpace,           // ENOSPC
  kFileTooBig,        // EFBIG
  kNotPermitted,      // EPERM
  kAccessDenied,      // EACCES
  kNotSupported,      // EOPNOTSUPP
  kNoAttribute,       // ENODATA
  kRange,             // ERANGE
  kArgumentTooLarge,  // E2BIG
  kNoSuchOffset,      // ENXIO
  kReadOnly,          // EROFS
  kWouldBlock,        // EAGAIN
  kStale,             // ESTALE
  kCrossDevice,       // EXDEV
  kLoop,              // ELOOP
};

// A short name for logs: "timed-out".
std::string_view error_code_name(ErrorCode code);

struct Error {
  ErrorCode code;
  // A sentence for a person, or empty where the code says it all (namespace answers).
  std::string message;
};

template <typename T>
using Result = std::expected<T, Error>;
using Status = Result<void>;

inline std::unexpected<Error> fail(ErrorCode code, std::string message = {}) {
  return std::unexpected<Error>(Error{code, std::move(message)});
}

// "what: strerror(errno_value)", with the code that fits the errno best.
std::unexpected<Error> fail_errno(int errno_value, std::string_view what);

}  // namespace rram
