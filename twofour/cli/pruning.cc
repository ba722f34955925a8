#include "twofour/cli/pruning.h"

#include "twofour/sparse/mask.h"

namespace twofour::cli {

PrunedLayer prune_layer(const PruneOptions& options, const ModelDirectory& model,
                        const Network& network, const Op& op) {
  const Parameter& weight = network.parameter(op, 0);
  PrunedLayer layer{op.name, weight.name, weight.shape[0], weight.shape[1]};
  layer.values = to_f32(model.tensor(weight.name), weight.name);
  const auto values = layer.values.as<float>();
  std::vector<float> saliency(values.size());
  saliency_by_name(options.saliency)(values, saliency);

  MaskOptions mask_options;
  mask_options.sparsity = options.sparsity;
  mask_options.share_rows = options.share_rows;
  mask_options.pairing = options.pairing == "adjacent" ? RowPairing::kAdjacent
                         : options.pairing == "nearby" ? RowPairing::kNearby
                                                       : RowPairing::kLeastEnergy;
  const Mask mask = compute_mask(op.name, saliency, layer.n, layer.k, mask_options).mask;

  double total = 0, lost = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const double energy = static_cast<double>(values[i]) * values[i];
    total += energy;
    if (mask.keep[i]) continue;
    lost += energy;
    values[i] = 0;
  }
  layer.sparsity = mask.sparsity();
  layer.energy_lost = total > 0 ? lost / total : 0;
  return layer;
}

}  // namespace twofour::cli
