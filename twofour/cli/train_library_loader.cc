#include "twofour/base/optional_library.h"
#include "twofour/train/api.h"

namespace twofour {
namespace {

constexpr OptionalLibrary kLibrary{
    "libtwofour_train.so",
    "TWOFOUR_TRAIN_LIBRARY",
    "training library",
    kTrainApiSymbol,
    "Build with -DTWOFOUR_TRAIN=ON (preset release)",
    "LibTorch must stand where the library was built against it; run scripts/setup"};

}  // namespace

TrainApi& train_api() {
  static TrainApi& api = *reinterpret_cast<TrainApiFunction>(open_library(kLibrary))();
  return api;
}

}  // namespace twofour
