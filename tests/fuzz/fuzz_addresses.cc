// What a person writes where an address, a list of providers, a range or an amount belongs. First
// byte: which; the rest: the text. What is accepted reads back to the same value from its canonical
// text; what is refused is refused with a sentence.
#include <string>
#include <string_view>
#include <vector>

#include "base/size_text.h"
#include "fusefs/provider_list.h"
#include "provider/admission.h"
#include "rdma/endpoint.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/memory_file.h"

namespace rram::fuzz {
namespace {

// True: there is a value to look at.
template <typename T>
bool is_value(const Result<T>& parsed) {
  require(parsed.has_value() || !parsed.error().message.empty());
  return parsed.has_value();
}

void check_endpoint(std::string_view text) {
  const Result<Endpoint> endpoint = parse_endpoint(text);
  if (!is_value(endpoint)) return;
  require(parse_endpoint(endpoint_text(*endpoint)) == *endpoint);
}

void check_amounts(std::string_view text) {
  const Result<std::uint64_t> size_bytes = parse_size_bytes(text);
  if (is_value(size_bytes)) {
    require(*size_bytes <= std::uint64_t{1} << 63);
    require(!size_text(*size_bytes).empty());
    require(parse_size_bytes(std::to_string(*size_bytes)).has_value());
  }
  const Result<std::uint64_t> duration_ms = parse_duration_ms(text);
  if (is_value(duration_ms)) require(*duration_ms <= 1'000'000'000'000);
}

void check_cidr(std::string_view text) {
  const Result<Cidr> range = Cidr::parse(text);
  if (!is_value(range)) return;
  const Result<Cidr> again = Cidr::parse(range->text());
  require(again.has_value() && again->text() == range->text());
  const Result<IpAddress> first = parse_ip_address(text.substr(0, text.find('/')));
  require(first.has_value() && range->contains(*first));
}

void check_range(std::string_view text) {
  const Result<std::vector<std::string>> names = expand_range(text);
  if (!is_value(names)) return;
  require(!names->empty() && names->size() <= kMaxListedProviders);
}

void check_listed(const Status& status, const std::vector<Endpoint>& providers) {
  require(status.has_value() || !status.error().message.empty());
  require(providers.size() <= kMaxListedProviders);
  for (const Endpoint& provider : providers) {
    require(parse_endpoint(endpoint_text(provider)) == provider);
  }
}

void check_list(std::string_view text) {
  if (text.contains('@')) return;  // a file of this host
  std::vector<Endpoint> providers;
  check_listed(add_providers(text, providers), providers);
}

void check_list_file(std::string_view text) {
  const MemoryFile file(text);
  std::vector<Endpoint> providers;
  check_listed(add_providers("@" + file.path(), providers), providers);
}

void run(std::uint8_t which, std::string_view text) {
  switch (which % 6) {
    case 0:
      return check_endpoint(text);
    case 1:
      return check_amounts(text);
    case 2:
      return check_cidr(text);
    case 3:
      return check_range(text);
    case 4:
      return check_list(text);
    default:
      return check_list_file(text);
  }
}

}  // namespace
}  // namespace rram::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  rram::fuzz::Input input(data, size);
  const std::uint8_t which = input.byte();
  rram::fuzz::run(which, input.text(size));
  return 0;
}
