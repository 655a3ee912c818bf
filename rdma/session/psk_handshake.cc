#include "rdma/session/psk_handshake.h"

#include <fmt/format.h>
#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <string>
#include <string_view>

#include "rdma/wire/frames.h"

namespace rram {

namespace {

struct OpensslDeleter {
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
  void operator()(SSL* ssl) const { SSL_free(ssl); }
  void operator()(SSL_SESSION* session) const { SSL_SESSION_free(session); }
};
template <typename T>
using OpensslPtr = std::unique_ptr<T, OpensslDeleter>;

constexpr std::string_view kIdentity = "rram-key-1";
constexpr const char* kCipherSuite = "TLS_AES_128_GCM_SHA256";
// Its two bytes on the TLS wire (RFC 8446, B.4).
constexpr std::array<unsigned char, 2> kCipherSuiteId = {0x13, 0x01};

constexpr std::size_t kLabelBytes = 32;
using TranscriptHash = std::array<std::uint8_t, 32>;
using Proof = std::array<std::uint8_t, kLabelBytes + sizeof(TranscriptHash)>;

constexpr std::string_view kRequesterLabel = "rram requester proof v1";
constexpr std::string_view kProviderLabel = "rram provider proof v1";
static_assert(kRequesterLabel.size() <= kLabelBytes && kProviderLabel.size() <= kLabelBytes);

// Of the exporter (RFC 8446, 7.5). RFC 5705, 4, keeps "EXPERIMENTAL" for those who register none.
constexpr std::string_view kRequesterRecordsLabel = "EXPERIMENTAL rram requester records v1";
constexpr std::string_view kProviderRecordsLabel = "EXPERIMENTAL rram provider records v1";

Proof make_proof(std::string_view label, const TranscriptHash& transcript) {
  Proof proof{};
  std::ranges::copy(label, proof.begin());
  std::ranges::copy(transcript, proof.begin() + kLabelBytes);
  return proof;
}

// The reason of the newest OpenSSL error of this thread; the queue is empty afterwards.
std::string take_openssl_reason(int& reason_number) {
  const unsigned long error = ERR_peek_last_error();
  reason_number = ERR_GET_LIB(error) == ERR_LIB_SSL ? ERR_GET_REASON(error) : 0;
  const char* reason = ERR_reason_error_string(error);
  ERR_clear_error();
  return reason == nullptr ? "unknown reason" : reason;
}

std::unexpected<Error> openssl_unusable(std::string_view what) {
  int number = 0;
  return fail(ErrorCode::kUnavailable,
              fmt::format("OpenSSL cannot {}: {}", what, take_openssl_reason(number)));
}

// SHA-256 over both frames.
Result<TranscriptHash> hash_transcript(std::span<const std::byte> hello_frame,
                                       std::span<const std::byte> hello_reply_frame) {
  std::vector<std::byte> frames(hello_frame.begin(), hello_frame.end());
  frames.insert(frames.end(), hello_reply_frame.begin(), hello_reply_frame.end());
  TranscriptHash hash;
  std::size_t hash_bytes = 0;
  if (EVP_Q_digest(nullptr, "SHA256", nullptr, frames.data(), frames.size(), hash.data(),
                   &hash_bytes) != 1 ||
      hash_bytes != hash.size()) {
    return openssl_unusable("compute SHA-256");
  }
  return hash;
}

}  // namespace

// The SSL object points back at this, so it never moves.
struct PskHandshake::State {
  enum class Step : std::uint8_t { kTls, kProof, kDone, kFailed };

  State(bool requester, const PresharedKey& shared_key, const TranscriptHash& transcript)
      : is_requester(requester),
        key(shared_key),
        transcript_hash(transcript),
        own_proof(make_proof(requester ? kRequesterLabel : kProviderLabel, transcript)),
        peer_proof(make_proof(requester ? kProviderLabel : kRequesterLabel, transcript)) {}

  const bool is_requester;
  const PresharedKey key;
  const TranscriptHash transcript_hash;
  const Proof own_proof;
  const Proof peer_proof;
  Step step = Step::kTls;
  Proof received{};
  std::size_t received_bytes = 0;
  OpensslPtr<SSL_CTX> context;
  OpensslPtr<SSL> ssl;
  BIO* from_peer = nullptr;  // owned by ssl
  BIO* to_peer = nullptr;    // owned by ssl

  Status open();
  Status run_tls();
  Status run_proof();
  Status send_proof();
  std::vector<std::byte> take_output() const;
  bool export_key(std::string_view label, DirectionKey& key_out) const;
  std::unexpected<Error> refused();
};

namespace {

// The key as OpenSSL wants it: a TLS 1.3 session that never was.
OpensslPtr<SSL_SESSION> make_psk_session(SSL* ssl, const PresharedKey& key) {
  OpensslPtr<SSL_SESSION> session(SSL_SESSION_new());
  const SSL_CIPHER* cipher = SSL_CIPHER_find(ssl, kCipherSuiteId.data());
  if (!session || cipher == nullptr ||
      SSL_SESSION_set1_master_key(session.get(),
                                  reinterpret_cast<const unsigned char*>(key.bytes().data()),
                                  key.bytes().size()) != 1 ||
      SSL_SESSION_set_cipher(session.get(), cipher) != 1 ||
      SSL_SESSION_set_protocol_version(session.get(), TLS1_3_VERSION) != 1) {
    return nullptr;
  }
  return session;
}

const PresharedKey& key_of(const SSL* ssl) {
  return *static_cast<const PresharedKey*>(SSL_get_app_data(ssl));
}

// OpenSSL asks the requester for its key. Returns 1 with a session that OpenSSL will free, or 0.
int use_psk(SSL* ssl, const EVP_MD* /*digest*/, const unsigned char** identity,
            std::size_t* identity_bytes, SSL_SESSION** session) {
  *session = make_psk_session(ssl, key_of(ssl)).release();
  *identity = reinterpret_cast<const unsigned char*>(kIdentity.data());
  *identity_bytes = kIdentity.size();
  return *session == nullptr ? 0 : 1;
}

// OpenSSL asks the provider for the key with this identity. No session: unknown identity.
int find_psk(SSL* ssl, const unsigned char* identity, std::size_t identity_bytes,
             SSL_SESSION** session) {
  *session = nullptr;
  if (identity_bytes != kIdentity.size() ||
      !std::equal(kIdentity.begin(), kIdentity.end(), identity)) {
    return 1;
  }
  *session = make_psk_session(ssl, key_of(ssl)).release();
  return *session == nullptr ? 0 : 1;
}

bool set_up_context(SSL_CTX* context, bool is_requester) {
  SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION);
  SSL_CTX_clear_options(context, SSL_OP_ENABLE_MIDDLEBOX_COMPAT | SSL_OP_ALLOW_NO_DHE_KEX);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_psk_use_session_callback(context, use_psk);
  SSL_CTX_set_psk_find_session_callback(context, find_psk);
  // There are no certificates. A provider that offers one instead of the key must fail: no CA is
  // loaded, so with SSL_VERIFY_PEER none can pass. The provider's side asks for none and has none
  // to offer, so without the key it cannot finish; run_tls() checks both sides once more.
  SSL_CTX_set_verify(context, is_requester ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, nullptr);
  return SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) == 1 &&
         SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) == 1 &&
         SSL_CTX_set_ciphersuites(context, kCipherSuite) == 1 &&
         SSL_CTX_set_num_tickets(context, 0) == 1;
}

}  // namespace

Status PskHandshake::State::open() {
  ERR_clear_error();
  context.reset(SSL_CTX_new(is_requester ? TLS_client_method() : TLS_server_method()));
  if (!context || !set_up_context(context.get(), is_requester)) {
    return openssl_unusable("set up TLS 1.3");
  }
  ssl.reset(SSL_new(context.get()));
  if (!ssl) {
    return openssl_unusable("make a TLS connection");
  }
  from_peer = BIO_new(BIO_s_mem());
  to_peer = BIO_new(BIO_s_mem());
  if (from_peer == nullptr || to_peer == nullptr) {
    BIO_free(from_peer);
    BIO_free(to_peer);
    return openssl_unusable("make a buffer");
  }
  BIO_set_mem_eof_return(from_peer, -1);  // empty means: later, not: closed
  SSL_set_bio(ssl.get(), from_peer, to_peer);
  // Only const reads go through this pointer; OpenSSL's signature wants it without const.
  SSL_set_app_data(ssl.get(), const_cast<PresharedKey*>(&key));
  if (is_requester) {
    SSL_set_connect_state(ssl.get());
  } else {
    SSL_set_accept_state(ssl.get());
  }
  return {};
}

Status PskHandshake::State::run_tls() {
  const int result = SSL_do_handshake(ssl.get());
  if (result != 1) {
    if (SSL_get_error(ssl.get(), result) == SSL_ERROR_WANT_READ) {
      return {};
    }
    return refused();
  }
  // For an external PSK "reused" means: the handshake stands on the key, not on a certificate.
  if (SSL_session_reused(ssl.get()) != 1 || SSL_version(ssl.get()) != TLS1_3_VERSION) {
    return refused();
  }
  step = Step::kProof;
  return is_requester ? send_proof() : Status{};
}

Status PskHandshake::State::send_proof() {
  const int written = SSL_write(ssl.get(), own_proof.data(), static_cast<int>(own_proof.size()));
  if (written != static_cast<int>(own_proof.size())) {
    return refused();
  }
  return {};
}

Status PskHandshake::State::run_proof() {
  while (received_bytes < received.size()) {
    const int count = SSL_read(ssl.get(), received.data() + received_bytes,
                               static_cast<int>(received.size() - received_bytes));
    if (count <= 0) {
      if (SSL_get_error(ssl.get(), count) == SSL_ERROR_WANT_READ) {
        return {};
      }
      return refused();
    }
    received_bytes += static_cast<std::size_t>(count);
  }
  if (CRYPTO_memcmp(received.data(), peer_proof.data(), received.size()) != 0) {
    return fail(ErrorCode::kRefused,
                "the peer saw another HELLO or HELLO_REPLY than was sent: somebody between the "
                "two hosts changes what they say");
  }
  if (SSL_pending(ssl.get()) != 0 || BIO_pending(from_peer) != 0) {
    return fail(ErrorCode::kRefused, "authentication failed: bytes after the peer's proof");
  }
  step = Step::kDone;
  return is_requester ? Status{} : send_proof();
}

std::vector<std::byte> PskHandshake::State::take_output() const {
  std::vector<std::byte> output(BIO_ctrl_pending(to_peer));
  if (!output.empty()) {
    BIO_read(to_peer, output.data(), static_cast<int>(output.size()));
  }
  return output;
}

// Key and IV for the records of one side. False: OpenSSL would not.
bool PskHandshake::State::export_key(std::string_view label, DirectionKey& key_out) const {
  std::array<std::byte, kRecordKeyBytes + kRecordIvBytes> exported{};
  const bool is_exported =
      SSL_export_keying_material(ssl.get(), reinterpret_cast<unsigned char*>(exported.data()),
                                 exported.size(), label.data(), label.size(),
                                 transcript_hash.data(), transcript_hash.size(), 1) == 1;
  std::copy_n(exported.begin(), kRecordKeyBytes, key_out.key.begin());
  std::copy_n(exported.begin() + kRecordKeyBytes, kRecordIvBytes, key_out.iv.begin());
  OPENSSL_cleanse(exported.data(), exported.size());
  return is_exported;
}

std::unexpected<Error> PskHandshake::State::refused() {
  int number = 0;
  const std::string reason = take_openssl_reason(number);
  if (number == SSL_R_BINDER_DOES_NOT_VERIFY) {
    return fail(ErrorCode::kRefused,
                "wrong key: requester and provider must be given the same key file");
  }
  return fail(ErrorCode::kRefused,
              fmt::format("authentication failed ({}): requester and provider must be given the "
                          "same key file",
                          reason));
}

PskHandshake::PskHandshake(std::unique_ptr<State> state) : state_(std::move(state)) {}
PskHandshake::PskHandshake(PskHandshake&&) noexcept = default;
PskHandshake& PskHandshake::operator=(PskHandshake&&) noexcept = default;
PskHandshake::~PskHandshake() = default;

Result<PskHandshake> PskHandshake::make(bool is_requester, const PresharedKey& key,
                                        std::span<const std::byte> hello_frame,
                                        std::span<const std::byte> hello_reply_frame) {
  const auto transcript = hash_transcript(hello_frame, hello_reply_frame);
  if (!transcript) {
    return std::unexpected(transcript.error());
  }
  auto state = std::make_unique<State>(is_requester, key, *transcript);
  if (Status status = state->open(); !status) {
    return std::unexpected(std::move(status).error());
  }
  return PskHandshake(std::move(state));
}

Result<PskHandshake> PskHandshake::requester(const PresharedKey& key,
                                             std::span<const std::byte> hello_frame,
                                             std::span<const std::byte> hello_reply_frame) {
  return make(true, key, hello_frame, hello_reply_frame);
}

Result<PskHandshake> PskHandshake::provider(const PresharedKey& key,
                                            std::span<const std::byte> hello_frame,
                                            std::span<const std::byte> hello_reply_frame) {
  return make(false, key, hello_frame, hello_reply_frame);
}

Result<std::vector<std::byte>> PskHandshake::advance(std::span<const std::byte> from_peer) {
  State& state = *state_;
  if (state.step == State::Step::kDone || state.step == State::Step::kFailed) {
    state.step = State::Step::kFailed;
    return fail(ErrorCode::kRefused, "authentication was over, but the peer sent more of it");
  }
  ERR_clear_error();  // OpenSSL's queue belongs to the thread, not to the connection
  if (!from_peer.empty() &&
      BIO_write(state.from_peer, from_peer.data(), static_cast<int>(from_peer.size())) <= 0) {
    state.step = State::Step::kFailed;
    return openssl_unusable("buffer the handshake");
  }
  Status status;
  if (state.step == State::Step::kTls) {
    status = state.run_tls();
  }
  if (status && state.step == State::Step::kProof) {
    status = state.run_proof();
  }
  if (!status) {
    state.step = State::Step::kFailed;
    return std::unexpected(std::move(status).error());
  }
  return state.take_output();
}

bool PskHandshake::done() const { return state_->step == State::Step::kDone; }

Result<RecordKeys> PskHandshake::record_keys() const {
  assert(done());
  RecordKeys keys;
  DirectionKey& of_requester = state_->is_requester ? keys.send : keys.receive;
  DirectionKey& of_provider = state_->is_requester ? keys.receive : keys.send;
  if (!state_->export_key(kRequesterRecordsLabel, of_requester) ||
      !state_->export_key(kProviderRecordsLabel, of_provider)) {
    return openssl_unusable("derive keys for records");
  }
  return keys;
}

}  // namespace rram
