#include "provider/unproved.h"

#include <gtest/gtest.h>

#include <vector>

namespace rram {
namespace {

TEST(UnprovedPlaces, an_address_has_so_many_and_takes_nobody_elses) {
  UnprovedPlaces places(2);
  std::vector<UnprovedPlaces::Place> taken{places.take("a"), places.take("a")};
  EXPECT_NE(taken.back(), nullptr);
  EXPECT_EQ(places.take("a"), nullptr);
  EXPECT_NE(places.take("b"), nullptr);
  taken.pop_back();
  EXPECT_NE(places.take("a"), nullptr) << "it came back";
}

TEST(UnprovedPlaces, a_place_may_outlive_them) {
  UnprovedPlaces::Place place;
  {
    UnprovedPlaces places(1);
    place = places.take("a");
    const UnprovedPlaces::Place copy = place;
    EXPECT_EQ(places.take("a"), nullptr);
  }
  EXPECT_NE(place, nullptr);
}

}  // namespace
}  // namespace rram
