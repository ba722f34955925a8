// Model directories for the tests of all folders that read them.
#pragma once

#include <filesystem>
#include <string>

#include "twofour/io/model_directory.h"

namespace twofour {

// An int8 model beside `model` whose activations are dynamic.
inline ModelDirectory without_input_scales(const ModelDirectory& model) {
  ModelToSave save{model.path(), model.config(), {}, model.twofour_json()};
  save.config.dynamic_activations = true;
  for (const std::string& name : model.tensor_names()) {
    if (!name.ends_with(".input_scale")) save.tensors.push_back({name, model.tensor(name)});
  }
  const std::filesystem::path path = model.path().string() + "-dynamic";
  save_model_directory(path, save);
  return ModelDirectory::open(path);
}

}  // namespace twofour
