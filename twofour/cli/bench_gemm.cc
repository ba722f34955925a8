#include "twofour/cli/bench_gemm.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "twofour/backend/backends.h"
#include "twofour/cli/onednn_product.h"
#include "twofour/cli/random_product.h"
#include "twofour/cli/table.h"
#include "twofour/cli/timing.h"

namespace twofour::cli {
namespace {

using Json = nlohmann::ordered_json;

// "spmm24_s8_avx512vnni" -> "avx512vnni"
std::string isa_of(const Kernel& kernel) {
  const std::string name(kernel.name());
  return name.substr(name.rfind('_') + 1);
}

// Of one type, in the order of the list. The scalar twins of the kernels are too slow to measure
// beside them.
std::vector<const Kernel*> kernels_of(MatmulType type) {
  std::vector<const Kernel*> kernels;
  for (const Kernel* kernel : kernel_list()) {
    if (kernel->type() != type || kernel->unavailable()) continue;
    const bool has_better = std::ranges::any_of(
        kernels, [&](const Kernel* other) { return other->sparse() == kernel->sparse(); });
    if (isa_of(*kernel) != "reference" || !has_better) kernels.push_back(kernel);
  }
  return kernels;
}

std::vector<MatmulType> types() {
  std::vector<MatmulType> found;
  for (const Kernel* kernel : kernel_list()) {
    if (std::ranges::find(found, kernel->type()) == found.end()) found.push_back(kernel->type());
  }
  return found;
}

// One of those that compute a product.
struct Candidate {
  std::string isa, kernel;
  bool sparse = false;
  int share_rows = 1;
  std::function<void(int64_t)> set_rows;
  std::function<void()> run;
};

Candidate own(const Kernel& kernel, const GemmShape& shape, int share_rows, ThreadPool& pool) {
  const auto product = std::make_shared<RandomProduct>(kernel, shape.n, shape.k, share_rows);
  return {isa_of(kernel),
          std::string(kernel.name()),
          kernel.sparse(),
          share_rows,
          [&pool, product](int64_t m) { product->set_rows(m, pool.threads()); },
          [&pool, product] { product->run(pool); }};
}

Candidate of_onednn(const std::shared_ptr<const OneDnn>& library, MatmulType type,
                    const GemmShape& shape, bool unsigned_input, const std::string& name) {
  const auto product =
      std::make_shared<OneDnnProduct>(library, type, shape.n, shape.k, unsigned_input);
  return {.isa = "onednn",
          .kernel = name,
          .set_rows = [product](int64_t m) { product->set_rows(m); },
          .run = [product] { product->run(); }};
}

class Measurement {
 public:
  Measurement(const GemmOptions& options,
              const std::function<void(int64_t done, int64_t total)>& progress)
      : options_(options), progress_(progress), onednn_(open_onednn()) {}

  GemmResult run() {
    if (onednn_ != nullptr) result_.onednn = version_of(*onednn_);
    measure_peaks();
    for (const GemmShape& shape : options_.shapes) {
      for (const MatmulType type : types()) measure(type, shape);
    }
    return std::move(result_);
  }

 private:
  void measure_peaks() {
    for (const MatmulType type : types()) {
      for (const Kernel* kernel : kernels_of(type)) {
        if (peak_of(isa_of(*kernel), type) != nullptr) continue;
        if (auto peak = measure_peak(isa_of(*kernel), type)) result_.peaks.push_back(*peak);
      }
    }
  }

  const InstructionPeak* peak_of(std::string_view isa, MatmulType type) const {
    const auto found = std::ranges::find_if(result_.peaks, [&](const InstructionPeak& peak) {
      return peak.isa == isa && peak.type == type;
    });
    return found == result_.peaks.end() ? nullptr : &*found;
  }

  // All that compute a layer of one shape and type.
  std::vector<Candidate> candidates_of(MatmulType type, const GemmShape& shape) {
    std::vector<Candidate> candidates;
    for (const Kernel* kernel : kernels_of(type)) {
      if (kernel->rejects({shape.n, shape.k, type, kernel->sparse()})) continue;
      for (const int share_rows : {1, 2, 4}) {
        if (share_rows > 1 && !kernel->sparse()) break;
        candidates.push_back(own(*kernel, shape, share_rows, pool_));
      }
    }
    if (onednn_ == nullptr || !computes(*onednn_, type)) return candidates;
    const std::string name = fmt::format("onednn_{}", matmul_type_name(type));
    candidates.push_back(of_onednn(onednn_, type, shape, false, name));
    if (type == MatmulType::kS8)
      candidates.push_back(of_onednn(onednn_, type, shape, true, "onednn_uint8"));
    return candidates;
  }

  void measure(MatmulType type, const GemmShape& shape) {
    const std::vector<Candidate> candidates = candidates_of(type, shape);
    for (const int64_t m : options_.rows) {
      if (!candidates.empty()) measure_rows(candidates, type, m, shape);
      progress_(++done_, static_cast<int64_t>(options_.shapes.size() * options_.rows.size() *
                                              types().size()));
    }
  }

  void measure_rows(const std::vector<Candidate>& candidates, MatmulType type, int64_t m,
                    const GemmShape& shape) {
    std::vector<std::function<void()>> runs;
    for (const Candidate& candidate : candidates) {
      candidate.set_rows(m);
      runs.push_back(candidate.run);
    }
    const auto ms = time_in_turns(runs, options_.repeat);
    const size_t best = best_dense(candidates, ms);
    const auto gops = [&](size_t i) {
      return 2e-6 * static_cast<double>(m * shape.n * shape.k) / summarize(ms[i]).median_ms;
    };
    for (size_t i = 0; i < candidates.size(); ++i) {
      const Candidate& candidate = candidates[i];
      GemmRow row;
      row.isa = candidate.isa;
      row.kernel = candidate.kernel;
      row.type = matmul_type_name(type);
      row.m = m;
      row.n = shape.n;
      row.k = shape.k;
      row.share_rows = candidate.share_rows;
      row.gops = gops(i);
      row.best_dense = gops(best);
      row.best_dense_kernel = candidates[best].kernel;
      row.ratio = compare_times(ms[i], ms[best]).median;
      row.spread = summarize(ms[i]).spread;
      if (const auto* peak = peak_of(candidate.isa, type)) row.peak_share = row.gops / peak->gops;
      result_.rows.push_back(std::move(row));
    }
  }

  // There is one for each type, the reference at least.
  static size_t best_dense(const std::vector<Candidate>& candidates,
                           const std::vector<std::vector<double>>& ms) {
    size_t best = candidates.size();
    for (size_t i = 0; i < candidates.size(); ++i) {
      if (candidates[i].sparse) continue;
      if (best == candidates.size() || quantile(ms[i], 0.5) < quantile(ms[best], 0.5)) best = i;
    }
    return best;
  }

  const GemmOptions& options_;
  const std::function<void(int64_t done, int64_t total)>& progress_;
  std::shared_ptr<const OneDnn> onednn_;  // null where there is none
  ThreadPool pool_{1};
  GemmResult result_;
  int64_t done_ = 0;
};

}  // namespace

std::vector<GemmShape> encoder_shapes() {
  std::vector<GemmShape> shapes;
  for (const int64_t hidden : {384, 768}) {
    for (const auto& [n, k] : {GemmShape{hidden, hidden}, GemmShape{3 * hidden, hidden},
                               GemmShape{4 * hidden, hidden}, GemmShape{hidden, 4 * hidden}}) {
      shapes.push_back({n, k});
    }
  }
  return shapes;
}

GemmResult measure_gemm(const GemmOptions& options,
                        const std::function<void(int64_t done, int64_t total)>& progress) {
  return Measurement(options, progress).run();
}

Json to_json(const GemmResult& result) {
  Json peaks = Json::array(), rows = Json::array();
  for (const InstructionPeak& peak : result.peaks) {
    peaks.push_back({{"isa", peak.isa},
                     {"type", matmul_type_name(peak.type)},
                     {"instruction", peak.instruction},
                     {"gops", peak.gops}});
  }
  for (const GemmRow& r : result.rows) {
    rows.push_back({{"isa", r.isa},
                    {"kernel", r.kernel},
                    {"type", r.type},
                    {"m", r.m},
                    {"n", r.n},
                    {"k", r.k},
                    {"share_rows", r.share_rows},
                    {"gops", r.gops},
                    {"best_dense", r.best_dense},
                    {"best_dense_kernel", r.best_dense_kernel},
                    {"ratio", r.ratio},
                    {"spread", json_or_null(r.spread)},
                    {"peak_share", json_or_null(r.peak_share)}});
  }
  Json onednn;
  if (!result.onednn.empty()) onednn = result.onednn;
  return {{"onednn", std::move(onednn)}, {"peaks", std::move(peaks)}, {"rows", std::move(rows)}};
}

void print_gemm(const GemmResult& result, std::ostream& out) {
  out << fmt::format("oneDNN   {}\n\n", result.onednn.empty() ? "not found" : result.onednn);
  Table peaks({"<isa", "<type", "<instruction", "peak GOPS"});
  for (const InstructionPeak& peak : result.peaks) {
    peaks.add_row({peak.isa, std::string(matmul_type_name(peak.type)), peak.instruction,
                   fmt::format("{:.1f}", peak.gops)});
  }
  peaks.print(out);
  out << '\n';
  Table rows({"<kernel", "m", "n", "k", "share rows", "GOPS", "best dense", "ratio", "spread %",
              "of peak %"});
  for (const GemmRow& r : result.rows) {
    rows.add_row({r.kernel, std::to_string(r.m), std::to_string(r.n), std::to_string(r.k),
                  std::to_string(r.share_rows), fmt::format("{:.1f}", r.gops),
                  fmt::format("{:.1f}", r.best_dense), fmt::format("{:.2f}", r.ratio),
                  format_spread(r.spread),
                  r.peak_share ? fmt::format("{:.0f}", *r.peak_share * 100) : "-"});
  }
  rows.print(out);
}

}  // namespace twofour::cli
