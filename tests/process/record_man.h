// Somebody between requesters and their provider who follows a connection into its records, and may
// do with each of them what he likes. He has no key.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <mutex>
#include <span>
#include <string_view>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "rdma/endpoint.h"
#include "rdma/wire/frames.h"
#include "tests/process/middle_man.h"

namespace rram::test {

class RecordMan {
 public:
  using Bytes = std::vector<std::byte>;
  struct Record {
    Role role;  // of its connection
    MiddleMan::Sender sender;
    Bytes bytes;
  };
  // What he passes on instead of a record; called by one thread at a time.
  using Edit = std::function<std::vector<Bytes>(const Record& record)>;

  explicit RecordMan(Endpoint provider, Edit edit = {});
  // Cuts every connection.
  ~RecordMan();
  RecordMan(const RecordMan&) = delete;
  RecordMan& operator=(const RecordMan&) = delete;

  // Where requesters find him in place of the provider.
  [[nodiscard]] const Endpoint& endpoint() const { return endpoint_; }
  // Whether these bytes went through, in one direction of one connection.
  [[nodiscard]] bool heard(std::string_view text) const;
  // Connections of this role so far.
  [[nodiscard]] std::size_t connections(Role role) const;

 private:
  // One direction of a connection.
  struct Way {
    MiddleMan::Sender sender;
    int from_fd;
    int to_fd;
    Bytes captured;
  };
  struct Connection {
    UniqueFd requester;
    UniqueFd provider;
    Role role = Role::kControl;
    bool has_tls = false;  // by its HELLO
    Way up;
    Way down;
    std::vector<std::thread> threads;
  };

  void accept_all();
  void pass(Connection& connection, Way& way);
  bool pass_frame(Connection& connection, Way& way, FrameType& type);
  bool pass_record(const Connection& connection, Way& way);
  bool pass_some(Way& way);
  void capture(Way& way, std::span<const std::byte> bytes);

  const Endpoint provider_;
  const Edit edit_;
  UniqueFd listener_;
  Endpoint endpoint_;
  mutable std::mutex mutex_;           // guards connections_ and what they captured
  std::mutex edit_mutex_;              // one call of edit_ at a time
  std::list<Connection> connections_;  // nothing is taken away
  std::thread acceptor_;
};

}  // namespace rram::test
