// The providers of a mount as a person lists them:
//   A+B+C      several, joined by '+' (or by naming the option again)
//   node[01-13], 10.0.0.[1,4-6]:7471   ranges, with the width kept
//   node[01-13]-ib0/node[01-13]-ib1    of hosts with several NICs: these ranges count together
//   @FILE      one list a line; '#' begins a comment
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "fusefs/layout/block.h"
#include "rdma/endpoint.h"

namespace rram {

// As many as a volume can have.
constexpr std::size_t kMaxListedProviders = kMaxProviders;

// Appends what `text` names. kInvalidArgument with a sentence: no endpoint, a bad range, an
// unreadable file, too many.
Status add_providers(std::string_view text, std::vector<Endpoint>& providers);

// "node[01-03]" -> node01 node02 node03; the text itself where there is no range. Brackets around
// an IPv6 address are no range.
Result<std::vector<std::string>> expand_range(std::string_view text);

}  // namespace rram
