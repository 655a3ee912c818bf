// Stands for rdma/verbs in a build without it.
#ifndef RRAM_HAS_VERBS

#include "rdma/verbs_provider.h"

namespace rram {

namespace {

std::unexpected<Error> absent() {
  return fail(ErrorCode::kUnavailable,
              "this build has no RDMA: build it with librdmacm-dev and libibverbs-dev");
}

class AbsentService final : public VerbsService {
 public:
  Status check(const sockaddr_storage& /*address*/) override { return absent(); }
  Result<std::unique_ptr<VerbsPort>> listen(EventLoop& /*loop*/,
                                            const sockaddr_storage& /*address*/) override {
    return absent();
  }
  void drop(const LeaseId& /*lease*/) override {}
};

}  // namespace

std::unique_ptr<VerbsService> VerbsService::create() { return std::make_unique<AbsentService>(); }

}  // namespace rram

#endif
