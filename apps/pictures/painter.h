// Draws pictures for prompts with a model of masked tokens.
//
// Source: Chang et al. 2022, MaskGIT, arXiv:2202.04200: all tokens start hidden; in each step all
// of them are drawn, and those that the model is surest of stay. Classifier-free guidance as in
// Chang et al. 2023, Muse, arXiv:2301.00704.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "apps/pictures/picture.h"
#include "twofour/runtime/engine.h"

namespace twofour::pictures {

struct PaintOptions {
  int steps = 12;            // in [1, kTokens]
  double guidance = 1;       // logits (1 + guidance) * with prompt - guidance * without; 0: none
  double temperature = 0.5;  // of the draw of a token; 0: the most probable one
  double choice_temperature = 2;  // of the choice which tokens stay, falling to 0
  uint64_t seed = 1;
};

using Codes = std::vector<int32_t>;  // kTokens of them

// As the data has it: one character for each code, UTF-8.
std::string text_of(const Codes& codes);

class Painter {
 public:
  // Throws Error naming the model if it has no token classification head, its vocabulary no
  // characters for its classes, or if it reads too few tokens for a picture and a prompt.
  Painter(const ModelDirectory& model, const EngineOptions& options, int threads);

  // One picture for each prompt: a function of engine, prompt and options. Prompts are cut to what
  // the model can read. Throws Error for an empty prompt and for steps out of range.
  std::vector<Codes> paint(std::span<const std::string> prompts, const PaintOptions& options);

  int codes() const { return codes_; }

 private:
  class Canvas;

  std::vector<Codes> paint_block(std::span<const std::string> prompts, const PaintOptions& options);
  std::vector<int32_t> read_prompt(const std::string& prompt) const;
  int32_t single_token(const std::string& text, const std::string& what) const;
  // Logits of the hidden tokens of all canvases: canvas by canvas, [hidden tokens, codes] each.
  std::vector<std::vector<float>> look(const std::vector<Canvas>& canvases,
                                       const std::vector<std::vector<int32_t>>& prompts);

  std::string origin_;  // of the model, for errors
  std::shared_ptr<const Engine> engine_;
  Session session_;
  int codes_ = 0;
  int32_t first_token_ = 0, mask_token_ = -1, start_token_ = 0, end_token_ = 0;
};

}  // namespace twofour::pictures
