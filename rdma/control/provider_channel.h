// The provider's end of one accepted connection: its control frames, and all that depends on how
// its requester reaches memory. One implementation for each transport.
//
// Belongs to the thread of its loop.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/task.h"
#include "rdma/control/byte_channel.h"
#include "rdma/wire/codec.h"
#include "rdma/wire/frames.h"

namespace rram {

// What one worker's lanes have carried, where the provider sees it. Written by that worker only,
// read by any thread.
struct DataCounters {
  std::atomic<std::uint64_t> reads{0};
  std::atomic<std::uint64_t> writes{0};
  std::atomic<std::uint64_t> read_bytes{0};
  std::atomic<std::uint64_t> written_bytes{0};
};

// One lane after its handshake: lets the requester at the lease's memory.
class DataServer {
 public:
  virtual ~DataServer() = default;
  DataServer(const DataServer&) = delete;
  DataServer& operator=(const DataServer&) = delete;

  // Serves until the peer closes, breaks a rule, or stop(). When it resumes, nothing is in flight:
  // the memory will not be touched any more. Errors: kProtocol and kInvalidArgument (out of range;
  // the peer has been told), kDisconnected (the connection broke), kCancelled (stopped).
  virtual Task<Status> serve() = 0;
  // serve() ends soon, whatever the peer does.
  virtual void stop(WireError code, std::string_view text) = 0;

 protected:
  DataServer() = default;
};

class ProviderChannel {
 public:
  virtual ~ProviderChannel() = default;
  ProviderChannel(const ProviderChannel&) = delete;
  ProviderChannel& operator=(const ProviderChannel&) = delete;

  [[nodiscard]] virtual ByteChannel& bytes() = 0;

  // A frame with the descriptors of memory (at most kMaxDescriptorsPerFrame), which stay open here.
  virtual Task<Status> send_with_descriptors(FrameBytes frame, std::vector<int> descriptors) = 0;

  // Makes the memory of a lease that was granted to this connection ready for the data connections
  // that will come: what can be refused is refused now. It stays ready until the lease is fenced.
  virtual Task<Status> prepare(LeaseId id, std::vector<std::span<std::byte>> regions) = 0;

  // This data connection joins the lease, and may reach its memory from now on. How it names the
  // regions; nothing where a region is its number. kRefused if it was made for another lease.
  // kCancelled: `is_wanted`, which it asks as long as this takes, said no before the connection was
  // given any right.
  virtual Task<Result<std::vector<RegionEntry>>> join(LeaseId id,
                                                      std::vector<std::span<std::byte>> regions,
                                                      std::function<bool()> is_wanted) = 0;
  // After join(): serves the lease's regions. The counters outlive it.
  virtual std::unique_ptr<DataServer> make_data_server(std::vector<std::span<std::byte>> regions,
                                                       DataCounters& counters) = 0;

 protected:
  ProviderChannel() = default;
};

}  // namespace rram
