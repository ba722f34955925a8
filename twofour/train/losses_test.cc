#include "twofour/train/losses.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "twofour/base/error.h"
#include "twofour/train/distillation.h"
#include "twofour/train/golden.h"

namespace twofour {
namespace {

using ::testing::HasSubstr;

constexpr double kTolerance = 1e-5;

const Golden& golden() {
  static const Golden file("losses.safetensors");
  return file;
}

at::Tensor valid_tokens(const at::Tensor& lengths, int64_t seq) {
  return at::arange(seq).unsqueeze(0) < lengths.unsqueeze(1);
}

void expect_loss(const std::string& name, const at::Tensor& loss) {
  EXPECT_TRUE(near(loss, golden()(name + ".loss"), kTolerance)) << name;
  loss.backward();
}

void expect_gradient(const std::string& name, const std::string& input, const at::Tensor& leaf) {
  EXPECT_TRUE(near(leaf.grad(), golden()(name + ".grad." + input), kTolerance))
      << name << " " << input;
}

TEST(Losses, GoldenCrossEntropy) {
  const at::Tensor logits = golden().leaf("cross_entropy.logits");
  expect_loss("cross_entropy",
              twofour::cross_entropy_loss(logits, golden().int64("cross_entropy.labels")));
  expect_gradient("cross_entropy", "logits", logits);
}

TEST(Losses, GoldenMse) {
  const at::Tensor outputs = golden().leaf("mse.outputs");
  expect_loss("mse", twofour::mse_loss(outputs, golden()("mse.labels")));
  expect_gradient("mse", "outputs", outputs);
}

TEST(Losses, GoldenRankNet) {
  const at::Tensor scores = golden().leaf("ranknet.scores");
  expect_loss("ranknet",
              ranknet_loss(scores, golden()("ranknet.labels"), golden().int64("ranknet.query")));
  expect_gradient("ranknet", "scores", scores);
}

// Documents of the query other than its own one.
at::Tensor same_query(const at::Tensor& query, const at::Tensor& query_of_document) {
  at::Tensor same = query.unsqueeze(1).eq(query_of_document.unsqueeze(0));
  same.diagonal().fill_(false);
  return same;
}

TEST(Losses, GoldenContrastive) {
  const at::Tensor queries = golden().leaf("contrastive.queries");
  const at::Tensor documents = golden().leaf("contrastive.documents");
  expect_loss("contrastive",
              contrastive_loss(queries, documents,
                               same_query(golden().int64("contrastive.query"),
                                          golden().int64("contrastive.query_of_document")),
                               golden().number("contrastive.temperature")));
  expect_gradient("contrastive", "queries", queries);
  expect_gradient("contrastive", "documents", documents);
}

TEST(Losses, GoldenLogits) {
  const at::Tensor student = golden().leaf("logits.student");
  expect_loss("logits", logits_loss(student, golden()("logits.teacher"),
                                    golden().number("logits.temperature")));
  expect_gradient("logits", "student", student);
}

TEST(Losses, GoldenHiddenStates) {
  std::vector<at::Tensor> student, teacher;
  for (const char* layer : {"0", "1", "2"}) {
    student.push_back(golden().leaf(std::string("hidden_states.student.") + layer));
    teacher.push_back(golden()(std::string("hidden_states.teacher.") + layer));
  }
  const at::Tensor valid = valid_tokens(golden()("hidden_states.lengths"), student[0].size(1));
  expect_loss("hidden_states", hidden_states_loss(student, teacher, valid));
  for (size_t i = 0; i < student.size(); ++i) {
    expect_gradient("hidden_states", "student." + std::to_string(i), student[i]);
  }
}

struct MiniLm {
  ForwardResult student, teacher;
  at::Tensor valid;
  int64_t heads = 0;
};

MiniLm golden_minilm(const std::string& name) {
  MiniLm inputs;
  inputs.student.q = golden().leaf(name + ".student.q");
  inputs.student.k = golden().leaf(name + ".student.k");
  inputs.student.v = golden().leaf(name + ".student.v");
  inputs.teacher.q = golden()(name + ".teacher.q");
  inputs.teacher.k = golden()(name + ".teacher.k");
  inputs.teacher.v = golden()(name + ".teacher.v");
  inputs.valid = valid_tokens(golden()(name + ".lengths"), inputs.student.q.size(1));
  inputs.heads = golden()(name + ".heads").item<int64_t>();
  return inputs;
}

TEST(Losses, GoldenMiniLmV1) {
  const MiniLm inputs = golden_minilm("minilm_v1");
  expect_loss("minilm_v1",
              minilm_v1_loss(inputs.student, inputs.teacher, inputs.valid, inputs.heads));
  expect_gradient("minilm_v1", "student.q", inputs.student.q);
  expect_gradient("minilm_v1", "student.k", inputs.student.k);
  expect_gradient("minilm_v1", "student.v", inputs.student.v);
}

TEST(Losses, GoldenMiniLmV2) {
  const MiniLm inputs = golden_minilm("minilm_v2");
  expect_loss("minilm_v2",
              minilm_v2_loss(inputs.student, inputs.teacher, inputs.valid, inputs.heads));
  expect_gradient("minilm_v2", "student.q", inputs.student.q);
  expect_gradient("minilm_v2", "student.k", inputs.student.k);
  expect_gradient("minilm_v2", "student.v", inputs.student.v);
}

TEST(Losses, RankNetEqualsALoopOverPairs) {
  const std::vector<float> scores = {0.3f, -1, 2, 0.5f, 0, 7}, labels = {2, 0, 1, 2, 2, 0};
  const std::vector<int64_t> query = {0, 0, 0, 1, 1, 2};
  double sum = 0;
  int pairs = 0;
  for (size_t i = 0; i < scores.size(); ++i) {
    for (size_t j = 0; j < scores.size(); ++j) {
      if (query[i] != query[j] || labels[i] <= labels[j]) continue;
      sum += std::log1p(std::exp(scores[j] - scores[i]));
      ++pairs;
    }
  }
  ASSERT_EQ(pairs, 3);
  EXPECT_NEAR(
      ranknet_loss(at::tensor(scores), at::tensor(labels), at::tensor(query)).item<double>(),
      sum / pairs, 1e-6);
}

TEST(Losses, RankNetWithoutPairsIsZeroAndHasGradients) {
  const at::Tensor scores = at::tensor({1.0f, 2.0f}).requires_grad_(true);
  const at::Tensor loss = ranknet_loss(scores, at::tensor({1.0f, 1.0f}), at::zeros({2}, at::kLong));
  EXPECT_EQ(loss.item<float>(), 0);
  loss.backward();
  EXPECT_TRUE(at::equal(scores.grad(), at::zeros({2})));
}

TEST(Losses, ContrastiveEqualsALoopOverDocuments) {
  at::manual_seed(1);
  const at::Tensor queries = at::randn({3, 4}), documents = at::randn({5, 4});
  const std::vector<int64_t> query = {7, 8, 7}, answers = {7, 8, 7, 8, -1};
  const double temperature = 0.5;
  double sum = 0;
  for (int i = 0; i < 3; ++i) {
    double denominator = 0;
    for (int j = 0; j < 5; ++j) {
      const bool same = j != i && answers[j] == query[i];
      denominator += same ? 0 : std::exp(queries[i].dot(documents[j]).item<double>() / temperature);
    }
    sum += std::log(denominator) - queries[i].dot(documents[i]).item<double>() / temperature;
  }
  const at::Tensor loss = contrastive_loss(
      queries, documents, same_query(at::tensor(query), at::tensor(answers)), temperature);
  EXPECT_NEAR(loss.item<double>(), sum / 3, 1e-5);
}

TEST(Losses, LogitsRefuseASingleOutput) {
  try {
    logits_loss(at::zeros({4, 1}), at::zeros({4, 1}), 2);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("1 output"));
  }
}

TEST(Losses, HiddenStatesEqualALoopOverTokens) {
  at::manual_seed(2);
  const at::Tensor student = at::randn({2, 3, 4}), teacher = at::randn({2, 3, 4});
  const std::vector<int64_t> lengths = {2, 3};
  double squares = 0, scale = 0;
  for (int64_t b = 0; b < 2; ++b) {
    for (int64_t t = 0; t < lengths[b]; ++t) {
      squares += (student[b][t] - teacher[b][t]).square().sum().item<double>();
      scale += teacher[b][t].square().sum().item<double>();
    }
  }
  const at::Tensor loss =
      hidden_states_loss({student}, {teacher}, valid_tokens(at::tensor(lengths), 3));
  EXPECT_NEAR(loss.item<double>(), squares / scale, 1e-6);
}

TEST(Losses, HiddenStatesRefuseAnotherDepth) {
  const at::Tensor x = at::zeros({1, 2, 4});
  EXPECT_THROW(hidden_states_loss({x}, {x, x}, at::ones({1, 2}, at::kBool)), Error);
}

// Sum of KL over query tokens of one sequence without padding, by loops over heads, queries and
// keys.
double relation_by_loops(const at::Tensor& sx, const at::Tensor& sy, const at::Tensor& tx,
                         const at::Tensor& ty, int64_t heads) {
  const int64_t seq = sx.size(0), d = sx.size(1) / heads;
  const auto probabilities = [&](const at::Tensor& x, const at::Tensor& y, int64_t head,
                                 int64_t t) {
    std::vector<double> p(seq);
    double sum = 0;
    for (int64_t j = 0; j < seq; ++j) {
      const at::Tensor a = x[t].narrow(0, head * d, d).to(at::kDouble);
      const at::Tensor b = y[j].narrow(0, head * d, d).to(at::kDouble);
      p[j] = std::exp(a.dot(b).item<double>() / std::sqrt(static_cast<double>(d)));
      sum += p[j];
    }
    for (double& value : p) value /= sum;
    return p;
  };
  double total = 0;
  for (int64_t head = 0; head < heads; ++head) {
    for (int64_t t = 0; t < seq; ++t) {
      const std::vector<double> p = probabilities(tx, ty, head, t),
                                q = probabilities(sx, sy, head, t);
      for (int64_t j = 0; j < seq; ++j) total += p[j] * std::log(p[j] / q[j]);
    }
  }
  return total;
}

ForwardResult random_qkv(int64_t batch, int64_t seq, int64_t hidden) {
  ForwardResult result;
  result.q = at::randn({batch, seq, hidden});
  result.k = at::randn({batch, seq, hidden});
  result.v = at::randn({batch, seq, hidden});
  return result;
}

TEST(Losses, MiniLmUnderPaddingEqualsLoopsWithoutPadding) {
  at::manual_seed(3);
  const std::vector<int64_t> lengths = {2, 5, 3};
  const int64_t heads = 2;
  ForwardResult student = random_qkv(3, 6, 8);
  const ForwardResult teacher = random_qkv(3, 6, 8);
  double v1 = 0, v2 = 0, tokens = 0;
  for (int64_t b = 0; b < 3; ++b) {
    const auto cut = [&](const at::Tensor& x) { return x[b].narrow(0, 0, lengths[b]); };
    const auto kl = [&](auto x, auto y) {
      return relation_by_loops(cut(student.*x), cut(student.*y), cut(teacher.*x), cut(teacher.*y),
                               heads);
    };
    v1 += kl(&ForwardResult::q, &ForwardResult::k) + kl(&ForwardResult::v, &ForwardResult::v);
    v2 += kl(&ForwardResult::q, &ForwardResult::q) + kl(&ForwardResult::k, &ForwardResult::k) +
          kl(&ForwardResult::v, &ForwardResult::v);
    tokens += static_cast<double>(lengths[b]);
  }
  const at::Tensor valid = valid_tokens(at::tensor(lengths), 6);
  EXPECT_NEAR(minilm_v1_loss(student, teacher, valid, heads).item<double>(), v1 / (tokens * heads),
              1e-5);
  EXPECT_NEAR(minilm_v2_loss(student, teacher, valid, heads).item<double>(),
              v2 / (tokens * heads * 3), 1e-5);

  for (at::Tensor* x : {&student.q, &student.k, &student.v}) x->requires_grad_(true);
  minilm_v1_loss(student, teacher, valid, heads).backward();
  for (const at::Tensor& x : {student.q, student.k, student.v}) {
    EXPECT_TRUE(x.grad().isfinite().all().item<bool>());
    EXPECT_EQ(x.grad().masked_select(valid.logical_not().unsqueeze(-1)).abs().sum().item<float>(),
              0);
    EXPECT_GT(x.grad().abs().max().item<float>(), 0);
  }
}

TEST(Losses, MiniLmRefusesHeadsThatDoNotDivide) {
  const ForwardResult x = random_qkv(1, 2, 8);
  try {
    minilm_v2_loss(x, x, at::ones({1, 2}, at::kBool), 3);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("3 relation heads do not divide a hidden size of 8"));
  }
}

TEST(Losses, DistillationFromItselfIsZero) {
  at::manual_seed(4);
  const ForwardResult x = random_qkv(2, 4, 8);
  const at::Tensor valid = valid_tokens(at::tensor({4, 1}), 4), logits = at::randn({2, 3});
  EXPECT_NEAR(logits_loss(logits, logits, 2).item<double>(), 0, 1e-7);
  EXPECT_NEAR(hidden_states_loss({x.q}, {x.q}, valid).item<double>(), 0, 1e-7);
  EXPECT_NEAR(minilm_v1_loss(x, x, valid, 4).item<double>(), 0, 1e-7);
  EXPECT_NEAR(minilm_v2_loss(x, x, valid, 4).item<double>(), 0, 1e-7);
}

}  // namespace
}  // namespace twofour
