// The same as consumer.c through the C++ API.
#include <twofour/base/error.h>
#include <twofour/runtime/scorer.h>

#include <cstdio>

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  try {
    twofour::Engine::load("/nonexistent");
    return 3;
  } catch (const twofour::Error&) {  // the type must be the same on both sides of the library's edge
  }
  twofour::Scorer scorer(twofour::Engine::load(argv[1]), {.threads = 2});
  const twofour::TextPair pairs[] = {{"image editor", "paint program"}, {"image editor", "mail server"}};
  const auto scores = scorer.score(pairs);
  std::printf("%.6f %.6f\n", scores[0].score, scores[1].score);
}
