#include "twofour/io/model_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "twofour/base/error.h"
#include "twofour/io/file.h"
#include "twofour/io/json.h"

namespace twofour {
namespace {

namespace fs = std::filesystem;

constexpr const char* kModules = "modules.json";
constexpr const char* kWeights = "model.safetensors";
constexpr const char* kWeightsIndex = "model.safetensors.index.json";

// Beside the weights.
constexpr std::array kTransformerFiles = {"config.json",
                                          "vocab.txt",
                                          "tokenizer.json",
                                          "tokenizer_config.json",
                                          "added_tokens.json",
                                          "special_tokens_map.json",
                                          "sentence_bert_config.json"};

// Beside modules.json.
constexpr std::array kRootFiles = {kModules, "config_sentence_transformers.json", "twofour.json"};

// "a/b" -> "a/b/"; refuses what leads out of the model's folder.
std::string module_folder(const std::string& folder, const std::string& where) {
  const fs::path path(folder);
  bool inside = path.is_relative() && folder.find('\0') == std::string::npos;
  for (const fs::path& part : path) inside = inside && part != "..";
  if (!inside) {
    throw Error(where, fmt::format("module path \"{}\" leads out of the model's folder", folder),
                "Copy the module into it");
  }
  return folder.empty() || folder.ends_with('/') ? folder : folder + "/";
}

// "sentence_transformers.models.Pooling" -> "Pooling": the packages before it differ between
// versions.
std::string module_kind(const JsonObject& module) {
  const std::string type = module.string("type");
  return type.substr(type.rfind('.') + 1);
}

void apply_module(const JsonObject& module, Modules& modules) {
  const std::string kind = module_kind(module);
  const std::string folder = module_folder(module.string_or("path", ""), module.where());
  if (kind == "Transformer") {
    modules.transformer = folder;
  } else if (kind == "Pooling") {
    modules.pooling = folder;
  } else if (kind == "Normalize") {
    modules.normalize = true;
  } else {
    throw Error(module.where(), fmt::format("module \"{}\" is not supported", kind),
                "Transformer, Pooling and Normalize are");
  }
}

void add_if_present(const ModelFiles& files, const std::string& name, const std::string& canonical,
                    SmallFiles& out) {
  if (files.contains(name)) out[canonical] = files.text(name);
}

// "owner/model" or "model", as the Hugging Face Hub has them, where no folder is called "owner".
bool may_be_on_hub(const std::string& name) {
  constexpr const char* kCharacters =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./";
  if (name.find_first_not_of(kCharacters) != std::string::npos) return false;
  if (name.starts_with('.') || name.starts_with('/')) return false;
  const fs::path owner = fs::path(name).parent_path();
  return std::ranges::count(name, '/') <= 1 && (owner.empty() || !is_there(owner));
}

bool is_run(const fs::path& folder) {
  return !is_there(folder / "config.json") && !is_there(folder / kModules) &&
         is_there(folder / "model/config.json");
}

[[noreturn]] void fail_as_absent(const std::string& name) {
  throw Error(name, "no such model directory",
              may_be_on_hub(name)
                  ? fmt::format("Models are folders here; one of the Hugging Face Hub is fetched "
                                "first, by the Python package huggingface_hub: hf download {} "
                                "--local-dir {}",
                                name, fs::path(name).filename().string())
                  : "");
}

}  // namespace

ModelFolder::ModelFolder(const fs::path& path) : path_(path), origin_(path.string()) {
  while (origin_.size() > 1 && origin_.ends_with('/')) origin_.pop_back();
  if (!is_there(path)) fail_as_absent(origin_);
  if (!fs::is_directory(path)) {
    throw Error(origin_, "is a file, expected a model directory",
                "Name the folder that holds config.json");
  }
  if (is_run(path)) {
    throw Error(origin_, "is the folder of a run", fmt::format("Did you mean {}/model?", origin_));
  }
}

bool ModelFolder::contains(const std::string& name) const { return is_there(path_ / name); }

std::string ModelFolder::text(const std::string& name) const { return read_file(path_ / name); }

Safetensors ModelFolder::tensors(const std::string& name) const {
  return Safetensors::open(path_ / name);
}

std::string ModelInMemory::text(const std::string& name) const {
  const auto bytes = files_.at(name);
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

Safetensors ModelInMemory::tensors(const std::string& name) const {
  const auto file = files_.find(name);
  if (file == files_.end()) throw Error(where(name), "no such file");
  return Safetensors::from_memory(file->second, where(name));
}

Modules read_modules(const ModelFiles& files) {
  Modules modules;
  if (!files.contains(kModules)) return modules;
  modules.present = true;
  const std::string where = files.where(kModules);
  const nlohmann::json list = parse_json(files.text(kModules), where);
  if (!list.is_array()) throw Error(where, "expected a list of modules", kJsonRemedy);
  std::string kinds;
  for (const auto& item : list) {
    const JsonObject module(item, where);
    apply_module(module, modules);
    kinds += module_kind(module) + " ";
  }
  if (kinds != "Transformer Pooling " && kinds != "Transformer Pooling Normalize ") {
    throw Error(where, fmt::format("modules are \"{}\", expected Transformer, Pooling and, if "
                                   "wanted, Normalize",
                                   kinds));
  }
  return modules;
}

SmallFiles read_small_files(const ModelFiles& files, const Modules& modules) {
  SmallFiles out;
  for (const std::string name : kRootFiles) add_if_present(files, name, name, out);
  for (const std::string name : kTransformerFiles) {
    add_if_present(files, modules.transformer + name, name, out);
  }
  if (modules.present) {
    add_if_present(files, modules.pooling + "config.json", "1_Pooling/config.json", out);
  }
  return out;
}

Safetensors open_weights(const ModelFiles& files, const Modules& modules) {
  const std::string& folder = modules.transformer;
  if (files.contains(folder + kWeights)) return files.tensors(folder + kWeights);
  const std::string index = folder + kWeightsIndex;
  if (files.contains(index)) {
    return Safetensors::from_index(
        files.text(index), files.where(index),
        [&](const std::string& shard) { return files.tensors(folder + shard); });
  }
  const bool pickled = files.contains(folder + "pytorch_model.bin");
  throw Error(files.where(folder + kWeights), "no such file",
              pickled ? "pytorch_model.bin needs conversion: transformers' "
                        "from_pretrained(...).save_pretrained(...) writes safetensors"
                      : "A model directory needs model.safetensors or its index with shards");
}

}  // namespace twofour
