// A requester that behaves badly over raw RDMA connections. Ends with 0 if the provider did what it
// should, after one line that says what that was.
// usage: rdma-abuse ADDRESS PORT garbage|version|refused|noise|read|silent|fickle COUNT
#include <arpa/inet.h>
#include <fmt/format.h>
#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>

#include <array>
#include <chrono>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "rdma/wire/frames.h"

namespace {

constexpr int kTimeoutMs = 5000;
constexpr int kRejectedByPeer = 28;
constexpr auto kPatience = std::chrono::seconds(20);

[[noreturn]] void fail(const std::string& what) {
  fmt::print("FAILED: {}\n", what);
  std::exit(1);
}

// As rdma/verbs/connect_data.h, which this must not trust.
struct ConnectBytes {
  std::uint32_t magic = rram::kMagic;
  std::uint16_t version_min = 1;
  std::uint16_t version_max = 1;
  std::uint32_t role = 1;
  std::uint32_t reserved = 0;
  std::array<std::uint8_t, 16> lease_id{};
};

// One connection, with blocking calls. Lives until the process ends.
class Connection {
 public:
  Connection() : channel_(rdma_create_event_channel()) {
    if (channel_ == nullptr || rdma_create_id(channel_, &id_, nullptr, RDMA_PS_TCP) != 0) {
      fail("no RDMA here");
    }
  }

  // All that comes before the request.
  void prepare(const char* address, const char* port) {
    sockaddr_in target{};
    target.sin_family = AF_INET;
    target.sin_port = htons(static_cast<std::uint16_t>(std::stoi(port)));
    ::inet_pton(AF_INET, address, &target.sin_addr);
    if (rdma_resolve_addr(id_, nullptr, reinterpret_cast<sockaddr*>(&target), kTimeoutMs) != 0 ||
        next_event() != RDMA_CM_EVENT_ADDR_RESOLVED || rdma_resolve_route(id_, kTimeoutMs) != 0 ||
        next_event() != RDMA_CM_EVENT_ROUTE_RESOLVED) {
      fail("no route");
    }
    make_queue_pair();
  }

  // Waits for nothing.
  void request(const void* data, std::uint8_t data_bytes) {
    rdma_conn_param param{};
    param.private_data = data;
    param.private_data_len = data_bytes;
    param.responder_resources = 1;
    param.initiator_depth = 1;
    param.retry_count = 7;
    param.rnr_retry_count = 7;
    if (rdma_connect(id_, &param) != 0) fail("rdma_connect");
  }

  // The event that answers the request: ESTABLISHED or what came instead.
  rdma_cm_event_type connect(const char* address, const char* port, const void* data,
                             std::uint8_t data_bytes) {
    prepare(address, port);
    request(data, data_bytes);
    return next_event();
  }

  // Whoever got the request is told that nobody waits any more.
  void give_up() {
    rdma_destroy_qp(id_);
    rdma_destroy_id(id_);
  }

  rdma_cm_event_type next_event() {
    rdma_cm_event* event = nullptr;
    if (rdma_get_cm_event(channel_, &event) != 0) fail("rdma_get_cm_event");
    const rdma_cm_event_type type = event->event;
    status_ = event->status;
    const auto* text = static_cast<const char*>(event->param.conn.private_data);
    if (type == RDMA_CM_EVENT_REJECTED && text != nullptr) {
      text_.assign(text, ::strnlen(text, event->param.conn.private_data_len));
    }
    rdma_ack_cm_event(event);
    return type;
  }

  [[nodiscard]] int status() const { return status_; }
  [[nodiscard]] const std::string& text() const { return text_; }

  // How the request ended; `request` is one of this connection's memory.
  ibv_wc_status perform(ibv_send_wr request, std::uint32_t length) {
    ibv_sge place{reinterpret_cast<std::uint64_t>(memory_.data()), length, region_->lkey};
    request.sg_list = &place;
    request.num_sge = 1;
    request.send_flags = IBV_SEND_SIGNALED;
    ibv_send_wr* bad = nullptr;
    if (ibv_post_send(id_->qp, &request, &bad) != 0) return IBV_WC_GENERAL_ERR;
    ibv_wc completion{};
    const auto limit = std::chrono::steady_clock::now() + kPatience;
    while (ibv_poll_cq(id_->send_cq, 1, &completion) == 0) {
      if (std::chrono::steady_clock::now() > limit) fail("no completion");
    }
    return completion.status;
  }

  std::array<std::uint8_t, 4096>& memory() { return memory_; }

 private:
  void make_queue_pair() {
    ibv_qp_init_attr attributes{};
    attributes.qp_type = IBV_QPT_RC;
    attributes.cap = {16, 16, 1, 1, 0};
    if (rdma_create_qp(id_, nullptr, &attributes) != 0) fail("rdma_create_qp");
    int access = IBV_ACCESS_LOCAL_WRITE;
    region_ = ibv_reg_mr(id_->pd, memory_.data(), memory_.size(), access);
    if (region_ == nullptr) fail("ibv_reg_mr");
  }

  rdma_event_channel* channel_;
  rdma_cm_id* id_ = nullptr;
  ibv_mr* region_ = nullptr;
  int status_ = 0;
  std::string text_;
  std::array<std::uint8_t, 4096> memory_{};
};

void expect_rejection(const char* address, const char* port, const void* data,
                      std::uint8_t data_bytes) {
  Connection connection;
  const rdma_cm_event_type answer = connection.connect(address, port, data, data_bytes);
  if (answer != RDMA_CM_EVENT_REJECTED || connection.status() != kRejectedByPeer) {
    fail(fmt::format("{} (status {}) instead of a rejection", rdma_event_str(answer),
                     connection.status()));
  }
  fmt::print("rejected: {}\n", connection.text());
}

void connect_rightly(Connection& connection, const char* address, const char* port,
                     const ConnectBytes& data) {
  const rdma_cm_event_type answer = connection.connect(address, port, &data, sizeof data);
  if (answer != RDMA_CM_EVENT_ESTABLISHED) {
    fail(fmt::format("{} (status {}, {}) instead of a connection", rdma_event_str(answer),
                     connection.status(), connection.text()));
  }
}

void expect_disconnection(Connection& connection, const char* what) {
  const rdma_cm_event_type event = connection.next_event();
  // Rejected: it was ended before our last word of the handshake was there.
  if (event != RDMA_CM_EVENT_DISCONNECTED && event != RDMA_CM_EVENT_REJECTED) {
    fail(fmt::format("{}: {}", what, rdma_event_str(event)));
  }
}

// Messages that are no frames.
void make_noise(const char* address, const char* port) {
  Connection connection;
  connect_rightly(connection, address, port, {});
  connection.memory().fill(0xA5);
  ibv_send_wr request{};
  request.opcode = IBV_WR_SEND_WITH_IMM;
  request.imm_data = 0xFFFFFFFF;
  connection.perform(request, 4096);
  expect_disconnection(connection, "noise");
  fmt::print("noise: the connection was ended\n");
}

// Straight for the memory, as a data connection that has proved nothing.
void read_without_right(const char* address, const char* port) {
  for (std::uint32_t key = 0; key < 64; ++key) {
    Connection connection;
    ConnectBytes data;
    data.role = 2;
    connect_rightly(connection, address, port, data);
    ibv_send_wr request{};
    request.opcode = IBV_WR_RDMA_READ;
    request.wr.rdma.remote_addr = 0x7F0000000000 + std::uint64_t{key} * 4096;
    request.wr.rdma.rkey = key * 257;
    const ibv_wc_status status = connection.perform(request, 4096);
    if (status == IBV_WC_SUCCESS) fail(fmt::format("key {} could be read", key * 257));
  }
  fmt::print("read: 64 attempts, all refused\n");
}

void stay_silent(const char* address, const char* port, std::size_t count) {
  std::vector<std::unique_ptr<Connection>> connections;
  for (std::size_t i = 0; i < count; ++i) {
    connections.push_back(std::make_unique<Connection>());
    connect_rightly(*connections.back(), address, port, {});
  }
  fmt::print("silent: {} connections stand\n", count);
  std::fflush(stdout);
  for (const std::unique_ptr<Connection>& connection : connections) {
    expect_disconnection(*connection, "silence");
  }
  fmt::print("silent: all were ended\n");
}

// Requests that are taken back before they are answered: all at once, so that most still wait.
void change_mind(const char* address, const char* port, std::size_t count) {
  const ConnectBytes right;
  std::vector<std::unique_ptr<Connection>> connections;
  for (std::size_t i = 0; i < count; ++i) {
    connections.push_back(std::make_unique<Connection>());
    connections.back()->prepare(address, port);
  }
  for (const auto& connection : connections) connection->request(&right, sizeof right);
  for (const auto& connection : connections) connection->give_up();
  fmt::print("fickle: {} requests were taken back\n", count);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4)
    fail("usage: rdma-abuse ADDRESS PORT garbage|version|refused|noise|read|silent|fickle N");
  const std::string mode = argv[3];
  const ConnectBytes right;
  if (mode == "garbage") {
    std::array<std::uint8_t, 56> bytes;
    bytes.fill(0xFF);
    expect_rejection(argv[1], argv[2], bytes.data(), bytes.size());
    expect_rejection(argv[1], argv[2], bytes.data(), 1);
  } else if (mode == "version") {
    ConnectBytes other;
    other.version_min = other.version_max = 9;
    expect_rejection(argv[1], argv[2], &other, sizeof other);
  } else if (mode == "refused") {
    expect_rejection(argv[1], argv[2], &right, sizeof right);
  } else if (mode == "noise") {
    make_noise(argv[1], argv[2]);
  } else if (mode == "read") {
    read_without_right(argv[1], argv[2]);
  } else if (mode == "silent" && argc > 4) {
    stay_silent(argv[1], argv[2], std::stoul(argv[4]));
  } else if (mode == "fickle" && argc > 4) {
    change_mind(argv[1], argv[2], std::stoul(argv[4]));
  } else {
    fail("no such mode: " + mode);
  }
}
