#include "ghostbatch/philox.h"

#include <gtest/gtest.h>

namespace ghostbatch::tests {
namespace {

void expect_words(const Philox4& words, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  EXPECT_EQ(words.v[0], a);
  EXPECT_EQ(words.v[1], b);
  EXPECT_EQ(words.v[2], c);
  EXPECT_EQ(words.v[3], d);
}

// The known-answer vectors of the authors' Random123 library for philox4x32, 10 rounds.
TEST(Philox, GivesTheKnownAnswers) {
  expect_words(philox(0, 0, 0, 0, 0), 0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u);
  expect_words(philox(~uint64_t{0}, ~0u, ~0u, ~0u, ~0u), 0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu);
  expect_words(philox(0x299f31d0a4093822u, 0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u), 0xd16cfe09u,
               0x94fdccebu, 0x5001e420u, 0x24126ea1u);
}

TEST(Philox, KeepsStreamsApart) {
  EXPECT_EQ(philox_stream(RandomPurpose::dropout, 5), 0x04000005u);
  EXPECT_EQ(philox_stream(RandomPurpose::augment, 0x1000002u), 0x03000002u);
}

}  // namespace
}  // namespace ghostbatch::tests
