#include "rdma/session/psk_handshake.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <memory>

#include "tests/unit/wire/session_helpers.h"

namespace rram::test {
namespace {

using Bytes = std::vector<std::byte>;

struct Pair {
  PskHandshake requester;
  PskHandshake provider;
};

FrameBytes hello() { return encode(1, make_hello()); }
FrameBytes hello_reply() { return encode(1, make_hello_reply()); }

Pair make_pair(std::uint8_t requester_key = 1, std::uint8_t provider_key = 1) {
  return {PskHandshake::requester(test_key(requester_key), hello(), hello_reply()).value(),
          PskHandshake::provider(test_key(provider_key), hello(), hello_reply()).value()};
}

// Carries bytes to and fro until nobody has any; the first error, or whether both are done.
Result<bool> run(Pair& pair) {
  Bytes bytes;
  bool to_provider = true;
  auto first = pair.requester.advance({});
  if (!first) {
    return std::unexpected(first.error());
  }
  bytes = *first;
  while (!bytes.empty()) {
    auto answer = to_provider ? pair.provider.advance(bytes) : pair.requester.advance(bytes);
    if (!answer) {
      return std::unexpected(answer.error());
    }
    bytes = *answer;
    to_provider = !to_provider;
  }
  return pair.requester.done() && pair.provider.done();
}

TEST(PskHandshake, one_key_on_both_sides_is_proved) {
  Pair pair = make_pair();
  EXPECT_FALSE(pair.requester.done());
  const auto done = run(pair);
  ASSERT_TRUE(done.has_value()) << done.error().message;
  EXPECT_TRUE(*done);
}

TEST(PskHandshake, both_sides_get_the_same_record_keys_and_each_direction_its_own) {
  Pair pair = make_pair();
  ASSERT_TRUE(run(pair).value());
  const RecordKeys requester = pair.requester.record_keys().value();
  const RecordKeys provider = pair.provider.record_keys().value();
  EXPECT_EQ(requester.send.key, provider.receive.key);
  EXPECT_EQ(requester.send.iv, provider.receive.iv);
  EXPECT_EQ(requester.receive.key, provider.send.key);
  EXPECT_EQ(requester.receive.iv, provider.send.iv);
  EXPECT_NE(requester.send.key, requester.receive.key);
  EXPECT_NE(requester.send.iv, requester.receive.iv);
}

TEST(PskHandshake, another_connection_has_other_record_keys) {
  Pair first = make_pair();
  Pair second = make_pair();
  ASSERT_TRUE(run(first).value());
  ASSERT_TRUE(run(second).value());
  EXPECT_NE(first.requester.record_keys().value().send.key,
            second.requester.record_keys().value().send.key);
}

TEST(PskHandshake, takes_two_frames_each_way) {
  Pair pair = make_pair();
  const Bytes client_hello = pair.requester.advance({}).value();
  const Bytes server_hello = pair.provider.advance(client_hello).value();
  const Bytes proof = pair.requester.advance(server_hello).value();
  EXPECT_FALSE(pair.requester.done());
  const Bytes answer = pair.provider.advance(proof).value();
  EXPECT_TRUE(pair.provider.done());
  EXPECT_TRUE(pair.requester.advance(answer).value().empty());
  EXPECT_TRUE(pair.requester.done());
}

TEST(PskHandshake, bytes_may_come_one_by_one) {
  Pair pair = make_pair();
  Bytes to_provider = pair.requester.advance({}).value();
  for (int round = 0; round < 2; ++round) {
    Bytes to_requester;
    for (const std::byte byte : to_provider) {
      const Bytes out = pair.provider.advance({&byte, 1}).value();
      to_requester.insert(to_requester.end(), out.begin(), out.end());
    }
    to_provider.clear();
    for (const std::byte byte : to_requester) {
      const Bytes out = pair.requester.advance({&byte, 1}).value();
      to_provider.insert(to_provider.end(), out.begin(), out.end());
    }
  }
  EXPECT_TRUE(pair.provider.done());
  EXPECT_TRUE(pair.requester.done());
}

TEST(PskHandshake, another_key_is_refused_with_what_to_do) {
  Pair pair = make_pair(1, 2);
  const auto done = run(pair);
  ASSERT_FALSE(done.has_value());
  EXPECT_EQ(done.error().code, ErrorCode::kRefused);
  EXPECT_EQ(done.error().message,
            "wrong key: requester and provider must be given the same key file");
  EXPECT_FALSE(pair.provider.done());
  EXPECT_FALSE(pair.provider.advance(Bytes(1)).has_value());
}

TEST(PskHandshake, another_hello_on_either_side_is_noticed) {
  Hello changed = make_hello();
  changed.features = 1;
  HelloReply changed_reply = make_hello_reply();
  changed_reply.incarnation[0] ^= 1;
  for (const auto& [h, r] :
       {std::pair{encode(1, changed), hello_reply()}, std::pair{hello(), encode(1, changed_reply)},
        std::pair{encode(2, make_hello()), hello_reply()}}) {
    Pair pair{PskHandshake::requester(test_key(1), hello(), hello_reply()).value(),
              PskHandshake::provider(test_key(1), h, r).value()};
    const auto done = run(pair);
    ASSERT_FALSE(done.has_value());
    EXPECT_EQ(done.error().code, ErrorCode::kRefused);
    EXPECT_NE(done.error().message.find("somebody between"), std::string::npos);
  }
}

TEST(PskHandshake, a_changed_byte_anywhere_is_refused) {
  for (int message = 0; message < 4; ++message) {
    for (std::size_t position = 0; position < 4; ++position) {
      Pair pair = make_pair();
      bool to_provider = true;
      Result<Bytes> bytes = pair.requester.advance({});
      for (int step = 0; step < 4 && bytes.has_value(); ++step) {
        if (step == message) {
          (*bytes)[bytes->size() - 1 - position * (bytes->size() - 1) / 3] ^= std::byte{0x20};
        }
        bytes = to_provider ? pair.provider.advance(*bytes) : pair.requester.advance(*bytes);
        to_provider = !to_provider;
      }
      EXPECT_FALSE(pair.requester.done()) << message << " " << position;
    }
  }
}

TEST(PskHandshake, a_requester_cannot_be_its_own_provider) {
  auto one = PskHandshake::requester(test_key(1), hello(), hello_reply()).value();
  const Bytes client_hello = one.advance({}).value();
  EXPECT_FALSE(one.advance(client_hello).has_value());
}

// A TLS 1.3 server that has a certificate of its own making instead of the key.
class Impostor {
 public:
  Impostor() : context_(SSL_CTX_new(TLS_server_method()), SSL_CTX_free) {
    const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key(EVP_EC_gen("P-256"),
                                                                  EVP_PKEY_free);
    const std::unique_ptr<X509, decltype(&X509_free)> certificate(X509_new(), X509_free);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate.get()), 0);
    X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 3600);
    X509_set_pubkey(certificate.get(), key.get());
    X509_sign(certificate.get(), key.get(), EVP_sha256());
    EXPECT_EQ(SSL_CTX_use_certificate(context_.get(), certificate.get()), 1);
    EXPECT_EQ(SSL_CTX_use_PrivateKey(context_.get(), key.get()), 1);
    ssl_.reset(SSL_new(context_.get()));
    SSL_set_bio(ssl_.get(), BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
  }

  Bytes answer(const Bytes& client_hello) {
    BIO_write(SSL_get_rbio(ssl_.get()), client_hello.data(), static_cast<int>(client_hello.size()));
    SSL_accept(ssl_.get());
    Bytes out(BIO_ctrl_pending(SSL_get_wbio(ssl_.get())));
    BIO_read(SSL_get_wbio(ssl_.get()), out.data(), static_cast<int>(out.size()));
    return out;
  }

 private:
  std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context_;
  std::unique_ptr<SSL, decltype(&SSL_free)> ssl_{nullptr, SSL_free};
};

TEST(PskHandshake, a_certificate_is_no_substitute_for_the_key) {
  Impostor impostor;
  auto requester = PskHandshake::requester(test_key(1), hello(), hello_reply()).value();
  const Bytes server_hello = impostor.answer(requester.advance({}).value());
  ASSERT_GT(server_hello.size(), 300U);  // it did offer its certificate
  const auto answer = requester.advance(server_hello);
  ASSERT_FALSE(answer.has_value());
  EXPECT_EQ(answer.error().code, ErrorCode::kRefused);
  EXPECT_NE(answer.error().message.find("certificate verify failed"), std::string::npos)
      << answer.error().message;
  EXPECT_FALSE(requester.done());
}

TEST(PskHandshake, more_after_the_end_is_refused) {
  Pair pair = make_pair();
  ASSERT_TRUE(run(pair).value());
  EXPECT_FALSE(pair.provider.advance(Bytes(5)).has_value());
  EXPECT_FALSE(pair.provider.done());
}

}  // namespace
}  // namespace rram::test
