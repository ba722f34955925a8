// A training library without LibTorch: records what it is asked, so that tests see what the command
// passes on.
#include <csignal>
#include <fstream>
#include <utility>

#include "twofour/base/error.h"
#include "twofour/io/file.h"
#include "twofour/train/api.h"

namespace twofour {
namespace {

void record(const std::filesystem::path& folder, const TrainRequest& r) {
  std::ofstream out(folder / "request.txt");
  out << r.recipe.string() << '|' << r.model.string() << '|' << r.train_data.string() << '|'
      << r.dev_data.string() << '|' << r.teacher.string() << '|' << r.resume << '|' << r.max_steps
      << '|' << r.threads << '|' << r.device << '|' << r.deterministic;
  for (const auto& [key, value] : r.overrides) out << '|' << key << '=' << value;
}

class FakeTrainApi : public TrainApi {
 public:
  std::string version() const override { return "2.11.0-fake"; }
  std::string cuda() const override { return "cuda:0 Fake H100 (9.0)"; }

  TrainSummary train(const TrainRequest& request, const Callbacks& callbacks) override {
    if (request.recipe == "bad.yaml") throw Error("bad.yaml:3", "unknown key 'stepz'", "Remove it");
    record(request.out, request);
    callbacks.info("training");
    TrainSummary summary;
    summary.rank = request.overrides.contains("rank") ? 1 : 0;
    if (request.overrides.contains("processes")) summary.processes = 2;
    if (request.overrides.contains("alone")) {
      summary.begun = false;
      return summary;
    }
    for (int64_t step = 1; step <= 10; ++step) {
      Progress progress;
      progress.task = "stage 1/1";
      progress.done = step;
      progress.total = 10;
      progress.unit = "steps";
      progress.seconds = static_cast<double>(step);
      progress.values = {{"loss", 1.0 / static_cast<double>(step)}};
      callbacks.progress(progress);
      if (step == 4 && request.overrides.contains("interrupt")) std::raise(SIGINT);
      for (const auto& [key, signal] : {std::pair{"hangup", SIGHUP}, std::pair{"kill", SIGINT}}) {
        if (step != 4 || !request.overrides.contains(key)) continue;
        for (int i = 0; i < 2; ++i) std::raise(signal);
      }
      summary.steps = step;
      if (callbacks.stop_requested()) return summary;
    }
    summary.finished = true;
    summary.seconds = 10;
    summary.sparsity = 0.5;
    summary.dev = {{"ndcg@10", 0.75}};
    summary.model = request.out / "model";
    return summary;
  }

  // Leaves the model that is there already.
  void calibrate(const CalibrateRequest& request, const Callbacks&) override {
    if (std::filesystem::exists(request.out)) return;
    write_file_atomically(request.out, [&](std::ostream& out) {
      out << request.method.to_string() << '|' << request.batches;
    });
  }
};

}  // namespace
}  // namespace twofour

extern "C" TWOFOUR_API twofour::TrainApi* twofour_train_api_v1() {
  static twofour::FakeTrainApi api;
  return &api;
}
