#include "apps/pictures/painter.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <random>

#include "apps/fnv1a.h"
#include "twofour/base/error.h"

namespace twofour::pictures {
namespace {

constexpr const char* kNothing = "emoji";  // the prompt of training pictures without words
constexpr const char* kMakeModel = "Models that draw start from apps/pictures/make-model.";
constexpr int32_t kHidden = -1;
constexpr int64_t kShortest = kTokens + 4;  // [CLS] picture [SEP] one token of a prompt [SEP]
constexpr size_t kBlock = 64;               // pictures that are drawn at once

// std::uniform_real_distribution differs between standard libraries.
double uniform(std::mt19937_64& random) {
  return (static_cast<double>(random() >> 11) + 0.5) * 0x1p-53;
}
double gumbel(std::mt19937_64& random) { return -std::log(-std::log(uniform(random))); }

// Of a code point of three bytes, as kFirstCharacter and its successors are.
std::string utf8(char32_t c) {
  return {static_cast<char>(0xE0 | c >> 12), static_cast<char>(0x80 | (c >> 6 & 0x3F)),
          static_cast<char>(0x80 | (c & 0x3F))};
}

}  // namespace

std::string text_of(const Codes& codes) {
  std::string text;
  for (const int32_t code : codes) text += utf8(kFirstCharacter + code);
  return text;
}

// One picture in the making.
class Painter::Canvas {
 public:
  Canvas(const std::string& prompt, const PaintOptions& options)
      : options_(options),
        random_(fnv1a(prompt, kFnvStart ^ options.seed)),
        codes_(kTokens, kHidden) {}

  const Codes& codes() const { return codes_; }
  int hidden() const { return static_cast<int>(std::ranges::count(codes_, kHidden)); }

  // Draws all hidden tokens and keeps the surest, so that `left` stay hidden.
  void step(std::span<const float> logits, int left, double choice_temperature) {
    std::vector<std::pair<double, int>> surest;  // minus confidence, place
    Codes drawn = codes_;
    const size_t width = logits.size() / static_cast<size_t>(hidden());
    size_t row = 0;
    for (int place = 0; place < kTokens; ++place) {
      if (codes_[place] != kHidden) continue;
      const auto [code, confidence] = draw(logits.subspan(row++ * width, width));
      drawn[place] = code;
      surest.emplace_back(-(confidence + choice_temperature * gumbel(random_)), place);
    }
    std::ranges::sort(surest);
    for (size_t i = 0; i + left < surest.size(); ++i) {
      codes_[surest[i].second] = drawn[surest[i].second];
    }
  }

 private:
  // A code and the logarithm of its probability.
  std::pair<int32_t, double> draw(std::span<const float> logits) {
    const float largest = *std::ranges::max_element(logits);
    double sum = 0, best = -INFINITY;
    size_t chosen = 0;
    for (size_t code = 0; code < logits.size(); ++code) {
      sum += std::exp(static_cast<double>(logits[code] - largest));
      const double noise = options_.temperature > 0 ? options_.temperature * gumbel(random_) : 0;
      if (logits[code] + noise > best) {
        best = logits[code] + noise;
        chosen = code;
      }
    }
    return {static_cast<int32_t>(chosen), logits[chosen] - largest - std::log(sum)};
  }

  const PaintOptions& options_;
  std::mt19937_64 random_;
  Codes codes_;
};

Painter::Painter(const ModelDirectory& model, const EngineOptions& options, int threads)
    : origin_(model.origin()),
      engine_(Engine::load(model, options)),
      session_(engine_, {.threads = threads}) {
  const ModelConfig& config = engine_->config();
  if (config.head != HeadKind::kTokenClassification) {
    throw Error(origin_, "does not classify tokens, so that it cannot draw",
                "Train a model that does with apps/pictures/run.");
  }
  if (config.max_sequence_length < kShortest) {
    throw Error(origin_, fmt::format("reads {} tokens at most, a picture and a prompt are {}",
                                     config.max_sequence_length, kShortest));
  }
  codes_ = static_cast<int>(config.num_labels);
  first_token_ = single_token(utf8(kFirstCharacter), "the first patch");
  const int32_t last = single_token(utf8(kFirstCharacter + codes_ - 1), "the last patch");
  if (last - first_token_ != codes_ - 1) {
    throw Error(origin_, "does not have the patches one after the other in its vocabulary");
  }
  mask_token_ = engine_->tokenizer().mask_id();
  if (mask_token_ < 0) throw Error(origin_, "has no token that hides patches", kMakeModel);
  const Encoding nothing = engine_->tokenizer().encode("", 8);
  start_token_ = nothing.ids.front();
  end_token_ = nothing.ids.back();
}

// Of a text that is one token.
int32_t Painter::single_token(const std::string& text, const std::string& what) const {
  const Encoding encoding = engine_->tokenizer().encode(text, 8);
  if (encoding.ids.size() == 3 && engine_->tokenizer().token(encoding.ids[1]) == text) {
    return encoding.ids[1];
  }
  throw Error(origin_, fmt::format("has no token for {}, so that it cannot draw", what),
              kMakeModel);
}

std::vector<int32_t> Painter::read_prompt(const std::string& prompt) const {
  if (prompt.find_first_not_of(" \t\r\n") == std::string::npos) {
    throw Error("prompt", "is empty", "Say what to draw.");
  }
  const int64_t room = engine_->config().max_sequence_length - kTokens - 1;
  std::vector<int32_t> ids = engine_->tokenizer().encode(prompt, room).ids;
  ids.erase(ids.begin());  // its [CLS]; its [SEP] ends the sequence
  return ids;
}

std::vector<std::vector<float>> Painter::look(const std::vector<Canvas>& canvases,
                                              const std::vector<std::vector<int32_t>>& prompts) {
  std::vector<int32_t> ids, type_ids, offsets = {0};
  for (size_t i = 0; i < canvases.size(); ++i) {
    ids.push_back(start_token_);
    for (const int32_t code : canvases[i].codes()) {
      ids.push_back(code == kHidden ? mask_token_ : first_token_ + code);
    }
    ids.push_back(end_token_);
    type_ids.resize(ids.size(), 0);
    ids.insert(ids.end(), prompts[i].begin(), prompts[i].end());
    type_ids.resize(ids.size(), 1);
    offsets.push_back(static_cast<int32_t>(ids.size()));
  }
  const auto width = static_cast<size_t>(codes_);
  std::vector<float> output(ids.size() * width);
  session_.run({ids, type_ids, offsets}, output);
  std::vector<std::vector<float>> logits(canvases.size());
  for (size_t i = 0; i < canvases.size(); ++i) {
    for (int place = 0; place < kTokens; ++place) {
      if (canvases[i].codes()[place] != kHidden) continue;
      const float* row = output.data() + (offsets[i] + 1 + place) * width;
      logits[i].insert(logits[i].end(), row, row + width);
    }
  }
  return logits;
}

std::vector<Codes> Painter::paint(std::span<const std::string> prompts,
                                  const PaintOptions& options) {
  if (options.steps < 1 || options.steps > kTokens) {
    throw Error("steps", fmt::format("is {}: must lie in [1, {}]", options.steps, kTokens));
  }
  std::vector<Codes> pictures;
  for (size_t begin = 0; begin < prompts.size(); begin += kBlock) {
    const auto block = prompts.subspan(begin, std::min(kBlock, prompts.size() - begin));
    for (Codes& picture : paint_block(block, options)) pictures.push_back(std::move(picture));
  }
  return pictures;
}

std::vector<Codes> Painter::paint_block(std::span<const std::string> prompts,
                                        const PaintOptions& options) {
  std::vector<Canvas> canvases;
  std::vector<std::vector<int32_t>> read;
  for (const std::string& prompt : prompts) {
    canvases.emplace_back(prompt, options);
    read.push_back(read_prompt(prompt));
  }
  const std::vector<std::vector<int32_t>> nothing(prompts.size(), read_prompt(kNothing));
  for (int step = 1; step <= options.steps; ++step) {
    std::vector<std::vector<float>> logits = look(canvases, read);
    if (options.guidance != 0) {
      const auto without = look(canvases, nothing);
      const auto w = static_cast<float>(options.guidance);
      for (size_t i = 0; i < logits.size(); ++i) {
        for (size_t j = 0; j < logits[i].size(); ++j) {
          logits[i][j] += w * (logits[i][j] - without[i][j]);
        }
      }
    }
    const double done = static_cast<double>(step) / options.steps;
    const auto left = static_cast<int>(std::cos(std::numbers::pi / 2 * done) * kTokens);
    for (size_t i = 0; i < canvases.size(); ++i) {
      canvases[i].step(logits[i], std::min(left, canvases[i].hidden() - 1),
                       options.choice_temperature * (1 - done));
    }
  }
  std::vector<Codes> pictures;
  for (const Canvas& canvas : canvases) pictures.push_back(canvas.codes());
  return pictures;
}

}  // namespace twofour::pictures
