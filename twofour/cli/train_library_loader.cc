#include <cstdlib>

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

// Threads that wait for others watch for them; as long as LibTorch's OpenMP does by itself, they
// take the cores of whoever they wait for on a busy machine (1.4 times as long for a step), and
// sleeping at once costs a sixth on an idle one. Read when LibTorch is opened.
void set_patience_of_openmp() {
  if (std::getenv("OMP_WAIT_POLICY") == nullptr) ::setenv("GOMP_SPINCOUNT", "20000", 0);
}

}  // namespace

TrainApi& train_api() {
  static TrainApi& api = []() -> TrainApi& {
    set_patience_of_openmp();
    return *reinterpret_cast<TrainApiFunction>(open_library(kLibrary))();
  }();
  return api;
}

}  // namespace twofour
