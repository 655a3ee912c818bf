#include "fusefs/errno_of.h"

#include <cerrno>

namespace rram {

int errno_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
      return EINVAL;
    case ErrorCode::kNotFound:
      return ENOENT;
    case ErrorCode::kExists:
      return EEXIST;
    case ErrorCode::kNotDirectory:
      return ENOTDIR;
    case ErrorCode::kIsDirectory:
      return EISDIR;
    case ErrorCode::kNotEmpty:
      return ENOTEMPTY;
    case ErrorCode::kNameTooLong:
      return ENAMETOOLONG;
    case ErrorCode::kTooManyLinks:
      return EMLINK;
    case ErrorCode::kNoSpace:
      return ENOSPC;
    case ErrorCode::kFileTooBig:
      return EFBIG;
    case ErrorCode::kNotPermitted:
      return EPERM;
    case ErrorCode::kAccessDenied:
      return EACCES;
    case ErrorCode::kNotSupported:
      return EOPNOTSUPP;
    case ErrorCode::kNoAttribute:
      return ENODATA;
    case ErrorCode::kRange:
      return ERANGE;
    case ErrorCode::kArgumentTooLarge:
      return E2BIG;
    case ErrorCode::kNoSuchOffset:
      return ENXIO;
    case ErrorCode::kReadOnly:
      return EROFS;
    case ErrorCode::kWouldBlock:
      return EAGAIN;
    case ErrorCode::kStale:
      return ESTALE;
    case ErrorCode::kCrossDevice:
      return EXDEV;
    case ErrorCode::kLoop:
      return ELOOP;
    // Whatever kept the data from being read or written, the application learns: I/O error.
    case ErrorCode::kRefused:
    case ErrorCode::kDisconnected:
    case ErrorCode::kTimedOut:
    case ErrorCode::kCancelled:
    case ErrorCode::kProtocol:
    case ErrorCode::kLost:
    case ErrorCode::kUnavailable:
    case ErrorCode::kIo:
      return EIO;
  }
  return EIO;
}

}  // namespace rram
