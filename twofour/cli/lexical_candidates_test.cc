#include "twofour/cli/lexical_candidates.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace twofour::cli {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

const std::vector<std::string> kDocuments{"gimp: GNU Image Manipulation Program",
                                          "nano: small text editor", "image image image viewer",
                                          "Bildbetrachter für Bilder"};

TEST(LexicalIndex, ShortDocumentsWin) {
  const std::vector<std::string> documents{"a b c d e f", "a b"};
  EXPECT_THAT(LexicalIndex(documents).best("a", 10), ElementsAre(1, 0));
}

TEST(LexicalIndex, RareAndFrequentWordsWin) {
  const LexicalIndex index(kDocuments);
  EXPECT_THAT(index.best("IMAGE viewer", 10), ElementsAre(2, 0));
  EXPECT_THAT(index.best("text-editor", 10), ElementsAre(1));
  EXPECT_THAT(index.best("für", 10), ElementsAre(3));
}

TEST(LexicalIndex, KeepsTheBestOnly) {
  const LexicalIndex index(kDocuments);
  EXPECT_THAT(index.best("image", 1), ElementsAre(2));
  EXPECT_THAT(index.best("image", 0), IsEmpty());
}

TEST(LexicalIndex, TiesStandInTheOrderOfTheCorpus) {
  const std::vector<std::string> documents{"b a", "a b", "a c"};
  EXPECT_THAT(LexicalIndex(documents).best("a", 10), ElementsAre(0, 1, 2));
}

TEST(LexicalIndex, WithoutACommonWordThereIsNone) {
  EXPECT_THAT(LexicalIndex(kDocuments).best("compiler", 10), IsEmpty());
  EXPECT_THAT(LexicalIndex({}).best("compiler", 10), IsEmpty());
}

}  // namespace
}  // namespace twofour::cli
