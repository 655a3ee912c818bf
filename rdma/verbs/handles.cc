#include "rdma/verbs/handles.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdlib>
#include <utility>

namespace rram {

namespace {

using DeviceList = std::unique_ptr<ibv_context*, detail::VerbsDeleter>;

// Gives back all devices of a list but `device`. Each goes as a list of its own: librdmacm goes on
// with an entry that it has freed where one that was removed is not the last.
DeviceList keep_only(ibv_context& device, DeviceList list) {
  ibv_context** const entries = list.get();
  bool is_listed = false;
  for (ibv_context** entry = entries; *entry != nullptr; ++entry) {
    if (*entry == &device) {
      is_listed = true;
      continue;
    }
    auto** single = static_cast<ibv_context**>(std::calloc(2, sizeof(ibv_context*)));
    if (single == nullptr) continue;  // it stays open: no harm but to its removal
    single[0] = *entry;
    DeviceList(single).reset();
  }
  entries[0] = is_listed ? &device : nullptr;
  if (is_listed) entries[1] = nullptr;
  return is_listed ? std::move(list) : DeviceList();
}

}  // namespace

Result<UniqueProtectionDomain> make_protection_domain(ibv_context& device) {
  DeviceList devices(rdma_get_devices(nullptr));
  if (devices) devices = keep_only(device, std::move(devices));
  if (!devices) {
    return fail(ErrorCode::kUnavailable, fmt::format("the RDMA device {} is being removed",
                                                     ibv_get_device_name(device.device)));
  }
  UniqueProtectionDomain domain(ibv_alloc_pd(&device), {std::move(devices)});
  if (domain) return domain;
  return fail_errno(errno, fmt::format("cannot make a protection domain on {}",
                                       ibv_get_device_name(device.device)));
}

}  // namespace rram
