#include "fusefs/front/operations.h"

#include <cerrno>
#include <ctime>

#include "base/gate.h"
#include "fusefs/front/data_operations.h"
#include "fusefs/front/name_operations.h"
#include "fusefs/front/session.h"

namespace rram {

namespace {

// One requester owns the volume and every change goes through its kernel: what the kernel knows
// stays true until it changes it itself.
constexpr unsigned kMaxBackgroundRequests = 512;

void on_init(void* user_data, fuse_conn_info* connection) {
  connection->max_write = kMaxPayloadBytes;
  connection->max_readahead = kMaxPayloadBytes;
  connection->max_background = kMaxBackgroundRequests;
  connection->congestion_threshold = kMaxBackgroundRequests * 3 / 4;
  connection->time_gran = 1;
  connection->want = FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO | FUSE_CAP_READDIRPLUS |
                     FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_NO_OPEN_SUPPORT |
                     FUSE_CAP_NO_OPENDIR_SUPPORT | FUSE_CAP_EXPLICIT_INVAL_DATA |
                     FUSE_CAP_CACHE_SYMLINKS | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_EXPORT_SUPPORT |
                     FUSE_CAP_POSIX_ACL | FUSE_CAP_DONT_MASK;
  // With it the kernel takes its own times for the true ones, and direct writes do not change
  // those.
  const Operations& operations = static_cast<const OperationsContext*>(user_data)->operations;
  if (!operations.options().direct_io) connection->want |= FUSE_CAP_WRITEBACK_CACHE;
  connection->want &= connection->capable;
}

}  // namespace

fuse_lowlevel_ops Operations::table(bool direct_io) {
  fuse_lowlevel_ops table{};
  table.init = on_init;
  add_name_operations(table);
  add_data_operations(table, direct_io);
  return table;
}

}  // namespace rram
