// A network as data: a typed list of coarse operations over named values and named parameters.
//
// Everything that executes or rewrites a network (training, CPU engine, export, inspect) walks this
// list. There is one definition of each network; builders make it from a ModelConfig.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "twofour/base/shape.h"
#include "twofour/io/model_directory.h"

namespace twofour {

using ValueId = int32_t;
inline constexpr ValueId kNoValue = -1;

enum class OpKind {
  kEmbedding,  // word[ids] + position[0..] + type[type_ids]; parameters: word, position, type
               // tables
  kLinear,     // y = x W^T + b; parameters: weight [n, k], bias [n]
  kAttention,  // inputs q, k, v [tokens, heads * head_dim]; softmax(q k^T / sqrt(head_dim)) v
               // inside each sequence
  kLayerNorm,  // parameters: gamma, beta
  kActivation,
  kAdd,
  kPool,       // tokens -> sequences
  kNormalize,  // L2 over the last dimension
};

enum class ActivationKind { kGelu, kGeluTanh, kRelu, kTanh };

std::string_view op_kind_name(OpKind kind);
std::string_view activation_name(ActivationKind kind);

// One row for each token of each sequence, or one for each sequence.
enum class Rows { kTokens, kSequences };

struct Value {
  std::string name;  // "encoder.layer.0.attention.context"
  Rows rows = Rows::kTokens;
  int64_t width = 0;
  int32_t quant_point = -1;  // index into Network::quant_points, -1: stays float
};

// A tensor that is quantized once, whoever reads it: Q, K and V share one.
struct QuantPoint {
  std::string name;  // that of its value
  ValueId value = kNoValue;
};

struct Parameter {
  std::string name;  // canonical, as in ModelDirectory
  Shape shape;
};

struct Op {
  OpKind kind = OpKind::kLinear;
  std::string name;  // "encoder.layer.0.attention.self.query"
  std::vector<ValueId> inputs;
  ValueId output = kNoValue;
  std::vector<int32_t>
      parameters;  // indices into Network::parameters, in the order given at OpKind

  ActivationKind activation = ActivationKind::kGelu;  // kActivation
  int64_t heads = 0, head_dim = 0;                    // kAttention
  double epsilon = 0;                                 // kLayerNorm
  Pooling pooling = Pooling::kCls;                    // kPool
  double dropout =
      0;  // training only: applied to the op's output (to the probabilities in kAttention)
  bool prunable = false;  // kLinear inside the encoder: may be 2:4 and int8; embeddings, pooler and
                          // head stay dense
};

struct Network {
  std::string architecture;  // "bert"
  std::vector<Value> values;
  std::vector<Op> ops;  // in execution order
  std::vector<Parameter> parameters;
  std::vector<QuantPoint> quant_points;

  ValueId output = kNoValue;  // [sequences, width]: logits or embeddings; hidden states for kNone
  std::vector<ValueId>
      hidden_states;  // embeddings' output, then one for each layer: what distillation reads
  ValueId last_q = kNoValue, last_k = kNoValue, last_v = kNoValue;  // of the last layer: MiniLM
  int64_t last_heads = 0;

  int64_t vocab_size = 0, max_positions = 0, type_vocab_size = 0;

  const Parameter& parameter(const Op& op, size_t index) const {
    return parameters[op.parameters[index]];
  }
};

// Dispatches on config.model_type. Throws Error listing the supported types.
Network build_network(const ModelConfig& config);
bool has_network(const ModelConfig& config);  // whether its type is one of them

// Checks that every parameter exists in the directory with its shape and that floats are finite; a
// classification head that is absent from the file is reported in the result (training initializes
// it), anything else throws Error with tensor, expected and found.
std::vector<std::string> check_parameters(const Network& network, const ModelDirectory& model);

}  // namespace twofour
