#include "twofour/cli/compressed_tensors.h"

#include "twofour/base/error.h"
#include "twofour/cli/output_path.h"
#include "twofour/runtime/plan.h"

namespace twofour::cli {
namespace {

namespace fs = std::filesystem;

void check(const ModelDirectory& model, const Network& network, const fs::path& out, bool replace) {
  check_output_model(out, model.path(), replace);
  if (!model.config().int8) {
    throw Error(model.origin(), "is a float model; format compressed-tensors is for int8 ones",
                "twofour calibrate makes it int8");
  }
  check_complete(network, model);
}

// A pooler that this network does not read is part of transformers' model all the same.
std::vector<NamedTensor> tensors_of(const ModelDirectory& model) {
  std::vector<NamedTensor> tensors;
  for (const std::string& name : model.tensor_names()) {
    tensors.push_back({name, model.tensor(name)});
  }
  return tensors;
}

}  // namespace

ModelReport export_compressed_tensors(const fs::path& path, const fs::path& out, bool replace) {
  const ModelDirectory model = ModelDirectory::open(path);
  const Network network = build_network(model.config());
  check(model, network, out, replace);
  save_model_directory(out,
                       ModelToSave{path, model.config(), tensors_of(model), model.twofour_json()});
  return inspect_model(network, ModelDirectory::open(out));
}

}  // namespace twofour::cli
