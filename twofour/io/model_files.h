// Where a model's files come from, and the small ones among them. Private to io/.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "twofour/io/model_directory.h"
#include "twofour/io/safetensors.h"

namespace twofour {

// A folder on disk or files in memory, by relative name.
class ModelFiles {
 public:
  virtual ~ModelFiles() = default;

  virtual bool contains(const std::string& name) const = 0;
  virtual std::string text(const std::string& name) const = 0;
  virtual Safetensors tensors(const std::string& name) const = 0;
  virtual const std::string& origin() const = 0;

  std::string where(const std::string& name) const { return origin() + "/" + name; }
};

class ModelFolder : public ModelFiles {
 public:
  // Throws Error unless `path` is a folder.
  explicit ModelFolder(const std::filesystem::path& path);

  bool contains(const std::string& name) const override;
  std::string text(const std::string& name) const override;
  Safetensors tensors(const std::string& name) const override;
  const std::string& origin() const override { return origin_; }

 private:
  std::filesystem::path path_;
  std::string origin_;
};

class ModelInMemory : public ModelFiles {
 public:
  using Files = std::map<std::string, std::span<const std::byte>>;
  ModelInMemory(const Files& files, std::string origin)
      : files_(files), origin_(std::move(origin)) {}

  bool contains(const std::string& name) const override { return files_.contains(name); }
  std::string text(const std::string& name) const override;
  Safetensors tensors(const std::string& name) const override;
  const std::string& origin() const override { return origin_; }

 private:
  const Files& files_;
  std::string origin_;
};

// What modules.json of sentence-transformers says.
struct Modules {
  bool present = false;
  std::string transformer;  // folder of config.json, weights and tokenizer, with a trailing slash
                            // unless empty
  std::string pooling;      // the same for the pooling module's config.json
  bool normalize = false;
};

// Throws Error for a module that is none of Transformer, Pooling, Normalize, or a path that leaves
// the folder.
Modules read_modules(const ModelFiles& files);

// The small text files that are there, by canonical name.
using SmallFiles = std::map<std::string, std::string, std::less<>>;
SmallFiles read_small_files(const ModelFiles& files, const Modules& modules);

// The weights: model.safetensors, or the shards of its index. Throws Error if there are none.
Safetensors open_weights(const ModelFiles& files, const Modules& modules);

// config.json and its companions, checked.
ModelConfig parse_model_config(const SmallFiles& files, const Modules& modules,
                               const std::string& origin);

// What config.json's "quantization_config" says.
struct Quantization {
  bool int8 = false;
  bool dynamic_activations = false;
};
// Nothing without one or with one that quantizes nothing; throws Error for one that is not int8 as
// this library reads it.
Quantization parse_quantization(std::string_view config_json, const std::string& where);

}  // namespace twofour
