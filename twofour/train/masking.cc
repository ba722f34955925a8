#include "twofour/train/masking.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <random>
#include <vector>

#include "twofour/base/error.h"

namespace twofour {
namespace {

// std::uniform_real_distribution differs between standard libraries.
double uniform(std::mt19937_64& random) { return static_cast<double>(random() >> 11) * 0x1p-53; }

double draw_share(const Masking& masking, std::mt19937_64& random) {
  if (masking.share == MaskedShare::kConstant) return masking.constant;
  return std::cos(std::numbers::pi / 2 * uniform(random));
}

}  // namespace

std::vector<uint64_t> fixed_seeds(std::span<const int32_t> sequences) {
  std::vector<uint64_t> seeds;
  for (const int32_t sequence : sequences) {
    seeds.push_back(mix_seeds({static_cast<uint64_t>(sequence)}));
  }
  return seeds;
}

TokenMasker::TokenMasker(const Masking& masking, int64_t num_labels, const Tokenizer& tokenizer)
    : masking_(masking),
      num_labels_(num_labels),
      mask_token_(tokenizer.mask_id()),
      special_(tokenizer.special_ids().begin(), tokenizer.special_ids().end()) {
  if (masking.first_token + num_labels > tokenizer.vocab_size()) {
    throw Error("masking",
                fmt::format("the classes stand for tokens {} to {}, but the vocabulary has {}",
                            masking.first_token, masking.first_token + num_labels - 1,
                            tokenizer.vocab_size()),
                "Lower masking.first_token or num_labels.");
  }
  if (mask_token_ < 0) {
    throw Error("masking", "the vocabulary has no token that hides others, such as [MASK]",
                "Name it as mask_token in tokenizer_config.json.");
  }
}

bool TokenMasker::can_mask(int64_t id, int64_t type_id) const {
  const bool in_segment = masking_.segment == MaskedSegment::kBoth ||
                          type_id == (masking_.segment == MaskedSegment::kFirst ? 0 : 1);
  return in_segment && id >= masking_.first_token && id < masking_.first_token + num_labels_ &&
         std::ranges::find(special_, id) == special_.end();
}

void TokenMasker::check(const Dataset& data, const TokenStore& tokens) const {
  for (int32_t i = 0; i < tokens.size(); ++i) {
    const TokenTensors one = tokens.collate({{i}});
    const int64_t* ids = one.ids.data_ptr<int64_t>();
    const int64_t* types = one.type_ids.data_ptr<int64_t>();
    bool any = false;
    for (int64_t j = 0; j < one.ids.numel() && !any; ++j) any = can_mask(ids[j], types[j]);
    if (any) continue;
    const Pair& pair = data.pairs[i];
    throw Error(data.origin,
                fmt::format("the pair of '{}' and '{}' has no token that a class stands for",
                            data.query_ids[pair.query], data.document_ids[pair.document]),
                "masking.segment and masking.first_token say which tokens are masked.");
  }
}

at::Tensor TokenMasker::mask(std::span<const uint64_t> seeds, TokenTensors& tokens) const {
  const int64_t batch = tokens.ids.size(0), seq = tokens.ids.size(1);
  at::Tensor targets = at::full({batch, seq}, kNotMasked, at::kLong);
  std::vector<int64_t> places;
  for (int64_t row = 0; row < batch; ++row) {
    int64_t* ids = tokens.ids.data_ptr<int64_t>() + row * seq;
    const int64_t* types = tokens.type_ids.data_ptr<int64_t>() + row * seq;
    int64_t* target = targets.data_ptr<int64_t>() + row * seq;
    places.clear();
    for (int64_t i = 0; i < tokens.lengths.data_ptr<int64_t>()[row]; ++i) {
      if (can_mask(ids[i], types[i])) places.push_back(i);
    }
    std::mt19937_64 random(seeds[row]);
    const double wanted = draw_share(masking_, random) * static_cast<double>(places.size());
    const int64_t count = std::min(std::ssize(places), std::max<int64_t>(1, std::llround(wanted)));
    // The first `count` of a Fisher-Yates shuffle.
    for (int64_t i = 0; i < count; ++i) {
      std::swap(places[i], places[i + random() % (places.size() - i)]);
      target[places[i]] = ids[places[i]] - masking_.first_token;
      ids[places[i]] = mask_token_;
    }
  }
  return targets;
}

}  // namespace twofour
