#include "twofour/train/masking.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <map>

#include "twofour/base/error.h"
#include "twofour/train/evaluator.h"
#include "twofour/train/objective.h"
#include "twofour/train/trainer_test_support.h"

namespace twofour {
namespace {

using testing::AllOf;
using testing::HasSubstr;
namespace fs = std::filesystem;

// 0 [PAD], 1 [UNK], 2 [CLS], 3 [SEP], 4 [MASK], then nothing but words.
class WordTokenizer : public Tokenizer {
 public:
  explicit WordTokenizer(int64_t size, bool has_mask = true) : size_(size), has_mask_(has_mask) {}
  Encoding encode(std::string_view, int64_t) const override { return {}; }
  Encoding encode_pair(std::string_view, std::string_view, int64_t) const override { return {}; }
  int64_t vocab_size() const override { return size_; }
  std::string_view token(int32_t id) const override {
    constexpr std::array<std::string_view, 5> kSpecial = {"[PAD]", "[UNK]", "[CLS]", "[SEP]",
                                                          "[MASK]"};
    return id < (has_mask_ ? 5 : 4) ? kSpecial[id] : "word";
  }
  std::span<const int32_t> special_ids() const override {
    static constexpr std::array<int32_t, 5> kIds = {0, 1, 2, 3, 4};
    return std::span(kIds).first(has_mask_ ? 5 : 4);
  }
  int32_t mask_id() const override { return has_mask_ ? 4 : -1; }

 private:
  int64_t size_;
  bool has_mask_;
};

constexpr int64_t kFirst = 20, kSecond = 10;

// `batch` sequences [CLS] words [SEP] words [SEP] [PAD]; word i has the id 5 + i.
TokenTensors make_tokens(int64_t batch) {
  const int64_t seq = 1 + kFirst + 1 + kSecond + 2;
  TokenTensors tokens{at::zeros({batch, seq}, at::kLong), at::zeros({batch, seq}, at::kLong),
                      at::full({batch}, seq - 1, at::kLong), at::ones({batch, seq}, at::kBool)};
  for (int64_t row = 0; row < batch; ++row) {
    for (int64_t i = 0; i < seq; ++i) {
      const bool separator = i == kFirst + 1 || i == seq - 2;
      tokens.ids[row][i] = i == 0 ? 2 : separator ? 3 : i == seq - 1 ? 0 : 5 + i;
      tokens.type_ids[row][i] = i > kFirst + 1 && i < seq - 1 ? 1 : 0;
    }
  }
  return tokens;
}

std::vector<uint64_t> seeds_up_to(uint64_t count) {
  std::vector<uint64_t> seeds(count);
  for (uint64_t i = 0; i < count; ++i) seeds[i] = mix_seeds({i});
  return seeds;
}

struct Masked {
  TokenTensors before, after;
  at::Tensor targets;
  at::Tensor hidden() const { return targets != kNotMasked; }
};

Masked mask(const Masking& masking, int64_t labels = 40, int64_t batch = 200) {
  Masked masked{make_tokens(batch), make_tokens(batch), {}};
  masked.targets =
      TokenMasker(masking, labels, WordTokenizer(60)).mask(seeds_up_to(batch), masked.after);
  return masked;
}

double share_of(const at::Tensor& flags) { return flags.to(at::kDouble).mean().item<double>(); }

TEST(TokenMasker, HidesATokenWhereItNamesOne) {
  const Masked masked = mask({.constant = 0.5});
  const at::Tensor hidden = masked.hidden();
  EXPECT_TRUE(masked.after.ids.masked_select(hidden).eq(4).all().item<bool>());
  EXPECT_TRUE(
      at::equal(masked.targets.masked_select(hidden), masked.before.ids.masked_select(hidden)));
  EXPECT_TRUE(
      at::equal(masked.after.ids.masked_select(~hidden), masked.before.ids.masked_select(~hidden)));
}

TEST(TokenMasker, LeavesSpecialTokensAndPadding) {
  const at::Tensor hidden = mask({.constant = 1}).hidden();
  const at::Tensor words = make_tokens(200).ids >= 5;
  EXPECT_TRUE(at::equal(hidden, words));
}

TEST(TokenMasker, HidesTheShareThatItIsAskedFor) {
  const int64_t words = kFirst + kSecond;
  const Masked masked = mask({.constant = 0.2});
  EXPECT_TRUE(masked.hidden().sum(1).eq(words / 5).all().item<bool>());
  // One at least.
  EXPECT_TRUE(mask({.constant = 0.001}).hidden().sum(1).eq(1).all().item<bool>());
}

TEST(TokenMasker, DrawsTheShareFromACosine) {
  const at::Tensor shares =
      mask({.share = MaskedShare::kCosine}, 40, 4000).hidden().sum(1).to(at::kDouble) /
      (kFirst + kSecond);
  // The mean of cos(pi / 2 * u) is 2 / pi; a third of the draws are above cos(pi / 6).
  EXPECT_NEAR(shares.mean().item<double>(), 2 / M_PI, 0.02);
  EXPECT_NEAR(share_of(shares > std::cos(M_PI / 6)), 1.0 / 3, 0.03);
}

TEST(TokenMasker, KeepsToItsSegmentAndItsClasses) {
  const at::Tensor types = make_tokens(200).type_ids;
  const at::Tensor first = mask({.segment = MaskedSegment::kFirst, .constant = 1}).hidden();
  EXPECT_EQ(first.sum().item<int64_t>(), 200 * kFirst);
  EXPECT_FALSE((first & types.eq(1)).any().item<bool>());
  const at::Tensor second = mask({.segment = MaskedSegment::kSecond, .constant = 1}).hidden();
  EXPECT_EQ(second.sum().item<int64_t>(), 200 * kSecond);
  // Classes 0 to 3 stand for tokens 10 to 13.
  const Masked some = mask({.constant = 1, .first_token = 10}, 4);
  EXPECT_EQ(some.hidden().sum().item<int64_t>(), 200 * 4);
  EXPECT_TRUE(at::equal(some.targets[0].masked_select(some.hidden()[0]), at::arange(4)));
}

TEST(TokenMasker, IsAFunctionOfSeedsAndMasksEveryPlaceAlike) {
  const Masked once = mask({.constant = 0.3}, 40, 3000), again = mask({.constant = 0.3}, 40, 3000);
  EXPECT_TRUE(at::equal(once.targets, again.targets));
  const at::Tensor often =
      once.hidden().to(at::kDouble).mean(0).masked_select(make_tokens(1).ids[0] >= 5);
  EXPECT_GT(often.min().item<double>(), 0.26);
  EXPECT_LT(often.max().item<double>(), 0.34);
}

TEST(TokenMasker, RefusesVocabulariesThatDoNotFit) {
  EXPECT_THAT(message_of([] { TokenMasker({.first_token = 30}, 31, WordTokenizer(60)); }),
              AllOf(HasSubstr("tokens 30 to 60"), HasSubstr("the vocabulary has 60")));
  EXPECT_THAT(message_of([] { TokenMasker({}, 10, WordTokenizer(60, false)); }),
              HasSubstr("has no token that hides others"));
}

// Names as RoBERTa has them, in either file and either form.
TEST(TokenMasker, TakesTheNamesOfSpecialTokensFromTheModel) {
  const std::map<std::string, std::string> renamed = {
      {"[PAD]", "<pad>"}, {"[CLS]", "<s>"}, {"[SEP]", "</s>"}, {"[MASK]", "<mask>"}};
  const fs::path path = fs::path(testing::TempDir()) / "renamed-tokens";
  fs::remove_all(path);
  fs::copy(golden_model("bert-uncased"), path, fs::copy_options::recursive);
  std::string vocabulary = read_file(path / "vocab.txt");
  for (const auto& [from, to] : renamed) {
    vocabulary.replace(vocabulary.find(from), from.size(), to);
  }
  write_file_atomically(path / "vocab.txt", vocabulary);
  write_file_atomically(path / "special_tokens_map.json",
                        R"({"cls_token": "<s>", "sep_token": {"content": "</s>"}})");
  write_file_atomically(path / "tokenizer_config.json",
                        R"({"pad_token": "<pad>", "mask_token": "<mask>", "cls_token": "other"})");
  const ModelDirectory model = ModelDirectory::open(path);
  const auto tokenizer = Tokenizer::open(model);
  const TokenMasker masker({.constant = 1}, tokenizer->vocab_size(), *tokenizer);
  const Dataset data = read_dataset(first_pairs(1));
  ThreadPool pool(1);
  const TokenStore store = TokenStore::of_pairs(data, *tokenizer, 64, pool);
  TokenTensors tokens = store.collate({{0}});
  const at::Tensor before = tokens.ids.clone();
  masker.mask(fixed_seeds({{0}}), tokens);
  for (int64_t i = 0; i < tokens.ids.numel(); ++i) {
    const auto was = before[0][i].item<int32_t>(), is = tokens.ids[0][i].item<int32_t>();
    const std::string_view word = tokenizer->token(was);
    const bool special = word == "<s>" || word == "</s>" || word == "[UNK]";
    EXPECT_EQ(tokenizer->token(is), special ? word : "<mask>");
  }
}

// --- Losses ------------------------------------------------------------------------------------

TEST(MaskedTokens, CountOnlyWhereTheyAreHidden) {
  Dataset data;
  Batch batch;
  TokenTensors tokens = make_tokens(2);
  at::Tensor targets = at::full({2, tokens.ids.size(1)}, kNotMasked, at::kLong);
  targets[0][3] = 1;
  targets[1][7] = 0;
  const at::Tensor logits = at::randn({2, tokens.ids.size(1), 3});
  ForwardResult student, teacher;
  student.output = logits;
  teacher.output = at::randn_like(logits);
  const std::vector<LossTerm> terms = {{.kind = LossKind::kMaskedTokens},
                                       {.kind = LossKind::kLogits, .temperature = 1}};
  const LossValues values =
      compute_losses(terms, {data, batch, tokens, targets}, student, &teacher, 1);
  const at::Tensor a = logits[0][3].log_softmax(0), b = logits[1][7].log_softmax(0);
  EXPECT_NEAR(values.terms[0].second, -(a[1] + b[0]).item<double>() / 2, 1e-6);
  const auto divergence = [](const at::Tensor& t, const at::Tensor& s) {
    return (t.softmax(0) * (t.log_softmax(0) - s)).sum();
  };
  const at::Tensor kl =
      (divergence(teacher.output[0][3], a) + divergence(teacher.output[1][7], b)) / 2;
  EXPECT_NEAR(values.terms[1].second, kl.item<double>(), 1e-6);
}

// --- Runs --------------------------------------------------------------------------------------

constexpr const char* kHead = R"(
head: token_classification
masking: {segment: second, share: cosine}
)";

std::string recipe_of(const std::string& name) {
  return write_recipe(name, "name: " + name + kHead + R"(
stages:
  - name: dense
    teach: true
    steps: 8
    learning_rate: {peak: 1e-3}
    losses: [{kind: masked_tokens}]
  - name: sparse
    steps: 4
    sparsity: 0.5
    learning_rate: {peak: 1e-3}
    losses: &distilled [{kind: masked_tokens}, {kind: logits}, {kind: hidden_states}]
  - name: logits
    steps: 4
    learning_rate: {peak: 1e-3}
    losses: [{kind: logits}]
  - name: int8
    steps: 4
    calibrate: max
    fake_quantize: true
    learning_rate: {peak: 1e-4}
    losses: *distilled
)")
      .string();
}

TEST(MaskedTokens, AreLearnedByASparseInt8Model) {
  const TrainRequest request = small_run(recipe_of("masked"), "bert-uncased", "masked");
  const TrainSummary summary = run_afresh(request);
  const ModelDirectory model = ModelDirectory::open(summary.model);
  EXPECT_EQ(model.config().head, HeadKind::kTokenClassification);
  EXPECT_EQ(model.config().num_labels, model.config().vocab_size) << "every token is a class";
  EXPECT_TRUE(model.config().int8);
  EXPECT_NEAR(summary.sparsity, 0.5, 1e-9);
  const auto rows = log_rows(request.out, "step");
  EXPECT_LT(rows[7].at("loss").get<double>(), rows[0].at("loss").get<double>());
  EXPECT_GT(summary.dev.at("masked_accuracy"), 0);
  EXPECT_LT(summary.dev.at("masked_loss"),
            std::log(static_cast<double>(model.config().vocab_size)));
}

// A network that always names one token, by a bias that outweighs everything.
TEST(MaskedTokens, AreCountedByTheEvaluator) {
  const ModelDirectory encoder = ModelDirectory::open(golden_model("bert-uncased"));
  const auto tokenizer = Tokenizer::open(encoder);
  const int64_t labels = tokenizer->vocab_size();
  const ModelDirectory model = encoder.with_head(HeadKind::kTokenClassification, labels);
  const Network network = build_network(model.config());
  ParameterMap parameters = load_parameters(network, model, 1);
  const Dataset data = read_dataset(kSource / "tests/golden/data/en.tsv");
  ThreadPool pool(1);
  const TokenStore tokens = TokenStore::of_pairs(data, *tokenizer, 64, pool);
  const TokenMasker masker({.share = MaskedShare::kCosine}, labels, *tokenizer);

  std::map<int64_t, int64_t> often;  // by masked token
  int64_t masked = 0;
  for (int32_t i = 0; i < tokens.size(); ++i) {
    TokenTensors one = tokens.collate({{i}});
    const at::Tensor targets = masker.mask(fixed_seeds({{i}}), one);
    for (int64_t j = 0; j < targets.numel(); ++j) {
      const int64_t target = targets[0][j].item<int64_t>();
      if (target != kNotMasked) ++often[target], ++masked;
    }
  }
  const auto most = std::ranges::max_element(often, {}, &std::pair<const int64_t, int64_t>::second);
  {
    const at::NoGradGuard no_grad;
    parameters.at("classifier.weight").zero_();
    parameters.at("classifier.bias").zero_()[most->first] = 20;
  }
  const Metrics metrics =
      MaskedTokenEvaluator(tokens, network, masker).evaluate(parameters, nullptr);
  const double right = static_cast<double>(most->second) / static_cast<double>(masked);
  EXPECT_NEAR(metrics.at("masked_accuracy"), right, 1e-12);
  EXPECT_NEAR(metrics.at("masked_loss"), 20 * (1 - right), 1e-3);
}

TEST(MaskedTokens, AreMaskedWhileScalesAreCalibrated) {
  TrainRequest request = small_run(recipe_of("scales"), "bert-uncased", "scales");
  request.overrides["stages.0.steps"] = request.overrides["stages.1.steps"] =
      request.overrides["stages.2.steps"] = request.overrides["stages.3.steps"] = "1";
  const auto scale_of = [&](const std::string& constant) {
    request.overrides["masking"] = "{constant: " + constant + "}";
    const ModelDirectory model = ModelDirectory::open(run_afresh(request).model);
    return model.tensor("encoder.layer.0.attention.self.query.input_scale").as<float>()[0];
  };
  EXPECT_NE(scale_of("0.1"), scale_of("0.9"));
}

// 40 pairs as one batch, or as 16, 16 and 8 of different lengths.
TEST(MaskedTokens, WeighAlikeInMicroBatches) {
  TrainRequest request = small_run(recipe_of("micro"), "bert-uncased", "micro");
  request.train_data = first_pairs(40);
  request.overrides["dropout"] = "0";
  request.overrides["masking"] = "{constant: 1}";  // whatever the seed
  request.max_steps = 5;
  const auto first_step = [&](const char* batch_pairs, const char* accumulate) {
    request.overrides["batch_pairs"] = batch_pairs;
    request.overrides["accumulate"] = accumulate;
    run_afresh(request);
    return log_rows(request.out, "step")[0];
  };
  const auto whole = first_step("40", "1"), parts = first_step("16", "3");
  EXPECT_NEAR(parts["loss"].get<double>(), whole["loss"].get<double>(), 1e-5);
}

TEST(MaskedTokens, GoOnAsTheyWereAfterAStop) {
  TrainRequest request = small_run(recipe_of("stopped"), "bert-uncased", "stopped");
  request.overrides["autocast"] = "bf16";
  const auto whole = contents_of(run_afresh(request).model);
  Callbacks callbacks;
  callbacks.stop_requested = [done = 0]() mutable { return ++done > 14; };
  EXPECT_FALSE(run_afresh(request, callbacks).finished);
  request.resume = true;
  EXPECT_TRUE(contents_of(run_training(request, {}).model) == whole);
}

TEST(MaskedTokens, WantNoClassifierOfTexts) {
  const TrainRequest request = small_run(recipe_of("texts"), "cross-encoder", "texts");
  EXPECT_THAT(message_of([&] { run_afresh(request); }),
              HasSubstr("classifies texts, the recipe wants a head that classifies tokens"));
}

TEST(MaskedTokens, WantSomethingToHide) {
  TrainRequest request = small_run(recipe_of("nothing"), "bert-uncased", "nothing");
  request.overrides["num_labels"] = "1";  // [PAD] alone
  EXPECT_THAT(message_of([&] { run_afresh(request); }),
              AllOf(HasSubstr("en.tsv"), HasSubstr("no token that a class stands for")));
}

}  // namespace
}  // namespace twofour
