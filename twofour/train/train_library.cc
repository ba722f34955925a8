// libtwofour_train.so: the build half behind one symbol, so that the command need not link
// LibTorch.
#include <torch/version.h>

#include "twofour/base/export.h"
#include "twofour/train/api.h"
#include "twofour/train/calibration.h"
#include "twofour/train/torch_errors.h"
#include "twofour/train/trainer.h"
#include "twofour/train/training_device.h"

namespace twofour {
namespace {

class Library : public TrainApi {
 public:
  std::string version() const override { return TORCH_VERSION; }
  std::string cuda() const override { return describe_cuda(); }

  TrainSummary train(const TrainRequest& request, const Callbacks& callbacks) override {
    return run_training(request, callbacks);
  }

  void calibrate(const CalibrateRequest& request, const Callbacks& callbacks) override {
    try {
      run_calibration(request, callbacks);
    } catch (const c10::Error& error) {
      throw from_torch(error);
    }
  }
};

}  // namespace
}  // namespace twofour

extern "C" TWOFOUR_API twofour::TrainApi* twofour_train_api_v1() {
  static twofour::Library library;
  return &library;
}
