// BERT and its kin (MiniLM, BGE, multilingual BERT), post-LayerNorm encoders with absolute
// positions. Source: Devlin et al. 2018, arXiv:1810.04805; parameter names as in Hugging Face
// transformers.
#include <fmt/format.h>

#include "twofour/base/error.h"
#include "twofour/graph/builder.h"

namespace twofour {
namespace {

void check_config(const ModelConfig& c) {
  auto positive = [](std::string_view key, int64_t value) {
    if (value >= 1) return;
    throw Error("config.json", fmt::format("{} is {}: must be at least 1", key, value));
  };
  positive("vocab_size", c.vocab_size);
  positive("hidden_size", c.hidden_size);
  positive("num_hidden_layers", c.num_hidden_layers);
  positive("num_attention_heads", c.num_attention_heads);
  positive("intermediate_size", c.intermediate_size);
  positive("max_position_embeddings", c.max_position_embeddings);
  positive("type_vocab_size", c.type_vocab_size);
  if (c.hidden_size % c.num_attention_heads != 0) {
    throw Error("config.json",
                fmt::format("hidden_size {} is not a multiple of num_attention_heads {}",
                            c.hidden_size, c.num_attention_heads));
  }
}

ValueId build_embeddings(NetworkBuilder& b, const ModelConfig& c) {
  const std::string name = "embeddings";
  const ValueId sum = b.embedding(
      name, {{name + ".word_embeddings.weight", {c.vocab_size, c.hidden_size}},
             {name + ".position_embeddings.weight", {c.max_position_embeddings, c.hidden_size}},
             {name + ".token_type_embeddings.weight", {c.type_vocab_size, c.hidden_size}}});
  return b.layer_norm(name + ".LayerNorm", sum, c.layer_norm_eps, c.hidden_dropout_prob);
}

ValueId build_self_attention(NetworkBuilder& b, const std::string& name, ValueId x,
                             const ModelConfig& c) {
  b.quantize(x);
  const ValueId q = b.linear(name + ".self.query", x, c.hidden_size, true);
  const ValueId k = b.linear(name + ".self.key", x, c.hidden_size, true);
  const ValueId v = b.linear(name + ".self.value", x, c.hidden_size, true);
  Network& network = b.network();
  network.last_q = q;
  network.last_k = k;
  network.last_v = v;
  network.last_heads = c.num_attention_heads;
  return b.attention(name + ".self", name + ".context", q, k, v, c.num_attention_heads,
                     c.attention_probs_dropout_prob);
}

// x + dense(input), normalized: the end of both halves of a layer.
ValueId build_output(NetworkBuilder& b, const std::string& name, ValueId input, ValueId x,
                     const ModelConfig& c) {
  b.quantize(input);
  const ValueId dense =
      b.linear(name + ".dense", input, c.hidden_size, true, c.hidden_dropout_prob);
  const ValueId sum = b.add(name + ".add", dense, x);
  return b.layer_norm(name + ".LayerNorm", sum, c.layer_norm_eps);
}

ValueId build_layer(NetworkBuilder& b, const std::string& name, ValueId x, const ModelConfig& c) {
  const ValueId context = build_self_attention(b, name + ".attention", x, c);
  const ValueId attended = build_output(b, name + ".attention.output", context, x, c);
  b.quantize(attended);
  const ValueId up = b.linear(name + ".intermediate.dense", attended, c.intermediate_size, true);
  const ValueId active =
      b.activation(name + ".intermediate.activation", up, parse_hidden_act(c.hidden_act));
  return build_output(b, name + ".output", active, attended, c);
}

}  // namespace

Network build_bert(const ModelConfig& c) {
  check_config(c);
  NetworkBuilder b("bert");
  Network& network = b.network();
  network.vocab_size = c.vocab_size;
  network.max_positions = c.max_position_embeddings;
  network.type_vocab_size = c.type_vocab_size;
  ValueId x = build_embeddings(b, c);
  network.hidden_states.push_back(x);
  for (int64_t layer = 0; layer < c.num_hidden_layers; ++layer) {
    x = build_layer(b, fmt::format("encoder.layer.{}", layer), x, c);
    network.hidden_states.push_back(x);
  }
  build_head(b, x, c);
  return b.take();
}

}  // namespace twofour
