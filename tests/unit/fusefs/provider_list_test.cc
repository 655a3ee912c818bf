#include "fusefs/provider_list.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <string>

namespace rram {
namespace {

using Names = std::vector<std::string>;

TEST(ProviderList, ranges_expand_in_order_and_keep_their_width) {
  EXPECT_EQ(*expand_range("node[08-11]"), (Names{"node08", "node09", "node10", "node11"}));
  EXPECT_EQ(*expand_range("10.0.0.[1,4-5]:7471"),
            (Names{"10.0.0.1:7471", "10.0.0.4:7471", "10.0.0.5:7471"}));
  EXPECT_EQ(*expand_range("r[1-2]n[1-2]"), (Names{"r1n1", "r1n2", "r2n1", "r2n2"}));
  EXPECT_EQ(*expand_range("plain"), (Names{"plain"}));
  EXPECT_EQ(*expand_range("tcp://[::1]:7470"), (Names{"tcp://[::1]:7470"}));
}

TEST(ProviderList, bad_ranges_are_refused_with_their_text) {
  for (const char* text : {"node[", "node[]", "node[a-b]", "node[3-1]", "node[1-]", "node[0-99999]",
                           "node[1,]", "node[1-2", "node[-1]"}) {
    const Result<Names> names = expand_range(text);
    ASSERT_FALSE(names.has_value()) << text;
    EXPECT_NE(names.error().message.find(text), std::string::npos);
  }
}

TEST(ProviderList, a_range_is_refused_before_it_is_expanded_beyond_what_a_volume_can_have) {
  std::string many = "node[0-1023";
  for (int i = 0; i < 10'000; ++i) many += ",0-1023";
  const Result<Names> repeated = expand_range(many + "]");
  ASSERT_FALSE(repeated.has_value());
  EXPECT_NE(repeated.error().message.find("more than"), std::string::npos);
  EXPECT_FALSE(expand_range("n[1-64]m[1-64]").has_value());
  EXPECT_FALSE(expand_range("n[" + std::string(100'000, '0') + "1-1000]").has_value());
}

TEST(ProviderList, more_providers_than_a_volume_can_have_are_refused) {
  std::vector<Endpoint> providers;
  ASSERT_TRUE(add_providers("n[1-1024]", providers));
  const Status one_more = add_providers("other", providers);
  ASSERT_FALSE(one_more.has_value());
  EXPECT_NE(one_more.error().message.find("more than 1024"), std::string::npos);
  EXPECT_EQ(providers.size(), 1024U);
}

TEST(ProviderList, a_name_of_very_many_ranges_costs_no_stack) {
  std::string text = "n";
  for (int i = 0; i < 10'000; ++i) text += "[1]";
  const Result<Names> names = expand_range(text);
  ASSERT_TRUE(names.has_value());
  EXPECT_EQ(names->front(), "n" + std::string(10'000, '1'));
}

TEST(ProviderList, a_list_is_joined_by_plus_and_a_name_twice_is_refused) {
  std::vector<Endpoint> providers;
  ASSERT_TRUE(add_providers("tcp://a+unix:///run/x.sock+b:7471", providers));
  EXPECT_EQ(providers.size(), 3U);
  const Status twice = add_providers("tcp://c+tcp://a", providers);
  ASSERT_FALSE(twice.has_value());
  EXPECT_NE(twice.error().message.find("twice"), std::string::npos);
  EXPECT_FALSE(add_providers("", providers).has_value());
  EXPECT_FALSE(add_providers("a++b", providers).has_value());
}

TEST(ProviderList, pools_inside_the_requester_may_repeat) {
  std::vector<Endpoint> providers;
  EXPECT_TRUE(add_providers("local:1G+local:1G", providers));
  EXPECT_EQ(providers.size(), 2U);
}

TEST(ProviderList, a_file_holds_one_list_a_line_with_comments) {
  const std::string path = testing::TempDir() + "provider_list_" + std::to_string(::getpid());
  std::ofstream(path) << "# the rack\n\n  tcp://a + tcp://b \nnode[1-2]  # two more\n";
  std::vector<Endpoint> providers;
  const Status status = add_providers("@" + path, providers);
  EXPECT_TRUE(status.has_value()) << status.error().message;
  EXPECT_EQ(providers.size(), 4U);
  std::ofstream(path) << "@" << path << "\n";
  EXPECT_FALSE(add_providers("@" + path, providers).has_value());
  std::remove(path.c_str());
  const Status missing = add_providers("@" + path, providers);
  ASSERT_FALSE(missing.has_value());
  EXPECT_NE(missing.error().message.find(path), std::string::npos);
}

TEST(ProviderList, the_nics_of_a_range_of_hosts_count_together) {
  std::vector<Endpoint> providers;
  ASSERT_TRUE(
      add_providers("verbs://node[1-2]-ib0/node[1-2]-ib1:7471+10.0.0.1/10.1.0.1", providers));
  ASSERT_EQ(providers.size(), 3U);
  EXPECT_EQ(endpoint_text(providers[0]), "verbs://node1-ib0/node1-ib1:7471");
  EXPECT_EQ(endpoint_text(providers[1]), "verbs://node2-ib0/node2-ib1:7471");
  EXPECT_EQ(endpoint_text(providers[2]), "10.0.0.1/10.1.0.1:7470");
  const Status uneven = add_providers("n[1-2]/m[1-3]", providers);
  ASSERT_FALSE(uneven.has_value());
  EXPECT_NE(uneven.error().message.find("of 2 and 3"), std::string::npos) << uneven.error().message;
}

}  // namespace
}  // namespace rram
