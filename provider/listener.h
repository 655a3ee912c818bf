// Listening sockets: TCP ports and the Unix socket.
#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "provider/admission.h"
#include "rdma/endpoint.h"
#include "rdma/verbs_provider.h"

namespace rram {

// The file of a Unix socket of ours; it goes with this object, unless somebody has put another one
// in its place.
class SocketFile {
 public:
  explicit SocketFile(std::string path);
  ~SocketFile();
  SocketFile(const SocketFile&) = delete;
  SocketFile& operator=(const SocketFile&) = delete;

 private:
  std::string path_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

struct Listener {
  Endpoint endpoint;  // with the real port
  UniqueFd fd;
  std::unique_ptr<SocketFile> socket_file;  // of a Unix socket
  sockaddr_storage address{};               // of RDMA, which has no socket
};

// Sockets bound to every address that the endpoint's host stands for, not listening yet: a peer is
// refused until the pool is there. Errors name the endpoint and the remedy.
Result<std::vector<Listener>> bind_tcp(const Endpoint& endpoint, const Admission& admission);

// The addresses that the endpoint's host stands for, checked: RDMA connections could arrive there.
Result<std::vector<Listener>> check_verbs(const Endpoint& endpoint, const Admission& admission,
                                          VerbsService& verbs);

// Checks that no provider that is alive has this socket: kExists, with the remedy.
Status check_unix_path_is_free(const std::string& path);
// The socket, listening, mode 0600. Makes the folder if only that is missing, and replaces a file
// that a dead provider left, which `was_stale` tells.
Result<Listener> listen_unix(const std::string& path, bool& was_stale);

Status start_listening(const Listener& listener);

}  // namespace rram
