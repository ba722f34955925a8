// Masked tokens: a share of a sequence's tokens is hidden, and the model names them from the rest.
//
// Source: Devlin et al. 2018, arXiv:1810.04805 (a constant share); Chang et al. 2022, MaskGIT,
// arXiv:2202.04200 (a share drawn for each sequence, so that one model fills in any number). Every
// chosen token becomes [MASK]: BERT's random and unchanged ones serve texts without [MASK], which
// nobody asks these models about.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "twofour/io/tokenizer.h"
#include "twofour/train/batcher.h"
#include "twofour/train/recipe.h"
#include "twofour/train/torch_interpreter.h"

namespace twofour {

inline constexpr int64_t kNotMasked = -100;  // as a target: what PyTorch ignores

// One seed for each sequence, always the same: evaluations and calibrations that can be compared.
std::vector<uint64_t> fixed_seeds(std::span<const int32_t> sequences);

class TokenMasker {
 public:
  // Classes [0, num_labels) of the head stand for tokens from masking.first_token on; special
  // tokens are never masked. Throws Error if the vocabulary lacks some of the classes' tokens, or
  // the one that hides.
  TokenMasker(const Masking& masking, int64_t num_labels, const Tokenizer& tokenizer);

  // Throws Error naming the pair for a sequence of `tokens` without anything to mask.
  void check(const Dataset& data, const TokenStore& tokens) const;

  // Replaces tokens by [MASK] and returns the classes that stood there, [batch, seq] int64,
  // kNotMasked elsewhere: at least one in each sequence that has a token to mask. What is chosen in
  // row i is a function of seeds[i] and the row's tokens.
  at::Tensor mask(std::span<const uint64_t> seeds, TokenTensors& tokens) const;

 private:
  bool can_mask(int64_t id, int64_t type_id) const;

  Masking masking_;
  int64_t num_labels_;
  int64_t mask_token_ = -1;
  std::vector<int64_t> special_;
};

}  // namespace twofour
