// A model directory as users have it: Hugging Face or sentence-transformers layout, dense or ours.
//
// clang-format off
//   config.json                            architecture; "quantization_config" when int8
//                                          (compressed-tensors, int-quantized)
//   model.safetensors                      or model.safetensors.index.json with shards
//   vocab.txt, tokenizer_config.json, ...
//   modules.json, 1_Pooling/               sentence-transformers only
//   twofour.json                           ours: recipe, scheme, pattern, versions, evaluation
// clang-format on
//
// Tensor names here are canonical: without the prefix that a head brings ("bert."), LayerNorm's
// gamma and beta as weight and bias; position ids, pre-training heads ("cls.") and the masks that
// pruning tools leave beside weights are left out.
// Linear layers that are int8 hold
// clang-format off
//   X.weight        I8  [n, k]
//   X.weight_scale  F32 [n, 1]     dequantized = int8 * scale
//   X.input_scale   F32 [1]        static, per tensor; none where activations are dynamic
// clang-format on
// as in compressed-tensors, whose files may hold scales as F16 or BF16, [n] or []: they are read as
// above. Weights may be -128.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "twofour/base/export.h"
#include "twofour/base/tensor.h"
#include "twofour/io/safetensors.h"

namespace twofour {

enum class Pooling { kCls, kMean, kMax };
enum class HeadKind {
  kNone,            // hidden states only
  kClassification,  // pooler (dense + tanh on [CLS]) -> classifier [num_labels, hidden]; num_labels
                    // == 1 is regression
  kEmbedding,       // pooling over tokens, optional L2 normalization
  kTokenClassification,  // classifier [num_labels, hidden] on every token
};

// Has a classifier with num_labels outputs.
inline bool classifies(HeadKind head) {
  return head == HeadKind::kClassification || head == HeadKind::kTokenClassification;
}

// What config.json (and modules.json with the pooling files) say, checked.
struct ModelConfig {
  std::string model_type;  // "bert"
  std::vector<std::string> architectures;
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t num_hidden_layers = 0;
  int64_t num_attention_heads = 0;
  int64_t intermediate_size = 0;
  int64_t max_position_embeddings = 0;
  int64_t type_vocab_size = 0;
  std::string hidden_act;  // "gelu", "gelu_new", "gelu_pytorch_tanh", "relu"
  double layer_norm_eps = 1e-12;
  double hidden_dropout_prob = 0.1;
  double attention_probs_dropout_prob = 0.1;

  HeadKind head = HeadKind::kNone;
  int64_t num_labels = 0;             // of a classifier
  Pooling pooling = Pooling::kMean;   // of an embedding head
  bool normalize = false;             // of an embedding head
  int64_t max_sequence_length = 512;  // min of positions, tokenizer and sentence_bert_config
  bool int8 = false;                  // quantization_config says so
  // Of int8: activations are quantized as they come, with a scale for each token. Of all layers or
  // of none.
  bool dynamic_activations = false;

  std::string json;    // config.json as read
  std::string origin;  // of it, for messages; empty: read from no file
};

class ModelFiles;

class TWOFOUR_API ModelDirectory {
 public:
  // Throws Error naming the file for anything missing, unreadable or contradictory.
  static ModelDirectory open(const std::filesystem::path& path);

  // The same from memory: file name (as above, "1_Pooling/config.json" for nested ones) -> bytes,
  // which must outlive the object. `origin` names the model in errors.
  static ModelDirectory from_memory(const std::map<std::string, std::span<const std::byte>>& files,
                                    const std::string& origin);

  const std::filesystem::path& path() const { return path_; }  // empty if from memory
  const std::string& origin() const { return origin_; }        // names the model in errors

  // A small text file of the directory by the name it has in the layout above, wherever
  // modules.json puts it: "vocab.txt", "tokenizer.json", "1_Pooling/config.json"; nothing when
  // absent.
  std::optional<std::string> file(std::string_view name) const;

  const ModelConfig& config() const { return config_; }

  // Canonical names, sorted.
  const std::vector<std::string>& tensor_names() const { return names_; }
  bool contains(std::string_view name) const;
  TensorView tensor(std::string_view name) const;  // throws Error: file, tensor
  // "file: tensor" for messages: the weight file that holds the tensor, or the one where it is
  // missing.
  std::string where(std::string_view name) const;

  // twofour.json as text; empty when absent.
  const std::string& twofour_json() const { return twofour_json_; }

  // Bytes of all files that hold weights.
  uint64_t weight_file_bytes() const;

  // A copy whose config has another head; tensors are unchanged. For turning an encoder into a
  // cross-encoder. `num_labels` counts for heads with a classifier only, and is at least 1 then.
  ModelDirectory with_head(HeadKind head, int64_t num_labels) const;

  // A copy with another config and other tensors, by canonical names, whose bytes must outlive it.
  // Throws Error as open() does for int8 weights and scales that do not fit each other.
  ModelDirectory with_tensors(const ModelConfig& config,
                              const std::vector<NamedTensor>& tensors) const;

 private:
  static ModelDirectory load(const ModelFiles& files);
  void take_tensors(Safetensors tensors);

  std::filesystem::path path_;
  ModelConfig config_;
  std::map<std::string, std::string, std::less<>> files_;  // small text files
  Safetensors tensors_;
  std::vector<std::string> names_;
  std::map<std::string, std::string, std::less<>> file_names_;  // canonical -> in the file
  // Of int8 layers, by canonical name; shared by copies, as the mapped files are.
  std::shared_ptr<const std::map<std::string, Tensor, std::less<>>> scales_;
  std::string origin_;
  std::string twofour_json_;
};

struct ModelToSave {
  // Tokenizer and other small files are copied from here; empty: none.
  std::filesystem::path source;
  // Head, num_labels, pooling, int8 and how activations are quantized go to the files; other keys
  // stay as in config.json.
  ModelConfig config;
  std::vector<NamedTensor> tensors;  // canonical names
  std::string twofour_json;
};

// Writes the whole directory beside `path` and renames it; an existing model directory at `path` is
// replaced, `source` may be that one. Throws Error as check_model_destination does. With a
// classifier the file's names get the prefix "bert." and config.json the architecture
// BertForSequenceClassification or BertForTokenClassification, so that transformers opens the
// result; with an embedding head modules.json and 1_Pooling/ make it one for sentence-transformers.
void save_model_directory(const std::filesystem::path& path, const ModelToSave& model);

// For those who work long before they save: throws Error if `path` is a file, or a folder that
// holds something but no model, naming the first file that save_model_directory neither writes nor
// copies.
void check_model_destination(const std::filesystem::path& path);

}  // namespace twofour
