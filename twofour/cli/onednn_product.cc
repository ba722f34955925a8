#include "twofour/cli/onednn_product.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "twofour/base/dtype.h"
#include "twofour/base/error.h"
#include "twofour/cli/random_product.h"

namespace twofour::cli {
namespace {

// What is used of the C interface of oneDNN 3 (oneapi/dnnl/dnnl_types.h), whose headers few
// machines have.
constexpr const char* kLibrary = "libdnnl.so.3";
constexpr int kMajor = 3;
constexpr int kCpu = 1, kInOrder = 1, kTagAny = 1, kQueryWeights = 131;
constexpr int kBf16 = 2, kF32 = 3, kS8 = 5, kU8 = 6;
constexpr int kSource = 1, kDestination = 17, kWeights = 33, kBias = 41, kScales = 4096;
constexpr unsigned kSequential = 1, kOpenMp = 2;
void* const kAllocate = reinterpret_cast<void*>(UINTPTR_MAX);

struct Version {
  int major, minor, patch;
  const char* hash;
  unsigned cpu_runtime, gpu_runtime;
};

struct Argument {
  int index;
  void* memory;
};

using Dims = std::array<int64_t, 2>;
using Handle = std::unique_ptr<void, int (*)(void*)>;

constexpr const char* kRemedy =
    "TWOFOUR_ONEDNN takes libdnnl.so.3 of a build with OpenMP, such as that of the package "
    "onednn-cpu-gomp";

void check(int status, std::string_view what) {
  if (status != 0) throw Error("oneDNN", fmt::format("{} failed with status {}", what, status));
}

}  // namespace

struct OneDnn {
  const Version* (*version)();
  int (*engine_create)(void**, int, size_t);
  int (*engine_destroy)(void*);
  int (*stream_create)(void**, void*, unsigned);
  int (*stream_wait)(void*);
  int (*stream_destroy)(void*);
  int (*memory_desc_create_with_tag)(void**, int, const int64_t*, int, int);
  int (*memory_desc_create_with_strides)(void**, int, const int64_t*, int, const int64_t*);
  int (*memory_desc_destroy)(void*);
  int (*memory_create)(void**, const void*, void*, void*);
  int (*memory_destroy)(void*);
  int (*primitive_attr_create)(void**);
  int (*primitive_attr_set_scales_mask)(void*, int, int);
  int (*primitive_attr_destroy)(void*);
  int (*matmul_primitive_desc_create)(void**, void*, const void*, const void*, const void*,
                                      const void*, const void*);
  int (*reorder_primitive_desc_create)(void**, const void*, void*, const void*, void*, const void*);
  const void* (*primitive_desc_query_md)(const void*, int, int);
  int (*primitive_desc_destroy)(void*);
  int (*primitive_create)(void**, const void*);
  int (*primitive_execute)(const void*, void*, int, const Argument*);
  int (*primitive_destroy)(void*);
};

namespace {

class Symbols {
 public:
  Symbols(void* library, std::string_view path) : library_(library), path_(path) {}

  template <class Function>
  void find(const char* name, Function*& function) const {
    function = reinterpret_cast<Function*>(dlsym(library_, name));
    if (function == nullptr)
      throw Error(path_, fmt::format("does not export {}: it is no oneDNN 3", name), kRemedy);
  }

 private:
  void* library_;
  std::string_view path_;
};

std::shared_ptr<const OneDnn> load(const Symbols& symbols) {
  auto api = std::make_shared<OneDnn>();
#define TWOFOUR_FIND(name) symbols.find("dnnl_" #name, api->name)
  TWOFOUR_FIND(version);
  TWOFOUR_FIND(engine_create);
  TWOFOUR_FIND(engine_destroy);
  TWOFOUR_FIND(stream_create);
  TWOFOUR_FIND(stream_wait);
  TWOFOUR_FIND(stream_destroy);
  TWOFOUR_FIND(memory_desc_create_with_tag);
  TWOFOUR_FIND(memory_desc_create_with_strides);
  TWOFOUR_FIND(memory_desc_destroy);
  TWOFOUR_FIND(memory_create);
  TWOFOUR_FIND(memory_destroy);
  TWOFOUR_FIND(primitive_attr_create);
  TWOFOUR_FIND(primitive_attr_set_scales_mask);
  TWOFOUR_FIND(primitive_attr_destroy);
  TWOFOUR_FIND(matmul_primitive_desc_create);
  TWOFOUR_FIND(reorder_primitive_desc_create);
  TWOFOUR_FIND(primitive_desc_query_md);
  TWOFOUR_FIND(primitive_desc_destroy);
  TWOFOUR_FIND(primitive_create);
  TWOFOUR_FIND(primitive_execute);
  TWOFOUR_FIND(primitive_destroy);
#undef TWOFOUR_FIND
  return api;
}

// Of this thread's products; other runtimes have no such function in C.
void use_one_thread(void* library, std::string_view path, const Version& version) {
  if (version.cpu_runtime == kSequential) return;
  const auto set_threads =
      version.cpu_runtime == kOpenMp
          ? reinterpret_cast<void (*)(int)>(dlsym(library, "omp_set_num_threads"))
          : nullptr;
  if (set_threads == nullptr) {
    throw Error(
        path,
        fmt::format("is built for the thread runtime {}, which cannot be kept to one thread",
                    version.cpu_runtime),
        kRemedy);
  }
  set_threads(1);
}

int data_type(MatmulType type, bool unsigned_input) {
  switch (type) {
    case MatmulType::kF32:
      return kF32;
    case MatmulType::kBf16:
      return kBf16;
    case MatmulType::kS8:
      return unsigned_input ? kU8 : kS8;
  }
  __builtin_unreachable();
}

// Objects of the library, each a handle that destroys it.
class Maker {
 public:
  explicit Maker(const OneDnn& api) : api_(api), engine_(make_engine()), stream_(make_stream()) {}

  // [rows, columns] with strides; without: as the library likes it.
  Handle desc(Dims shape, int type) const {
    void* made = nullptr;
    check(api_.memory_desc_create_with_tag(&made, 2, shape.data(), type, kTagAny), "a description");
    return {made, api_.memory_desc_destroy};
  }
  Handle desc(Dims shape, int type, Dims strides) const {
    void* made = nullptr;
    check(api_.memory_desc_create_with_strides(&made, 2, shape.data(), type, strides.data()),
          "a description with strides");
    return {made, api_.memory_desc_destroy};
  }
  Handle vector_desc(int64_t size) const {
    void* made = nullptr;
    const int64_t stride = 1;
    check(api_.memory_desc_create_with_strides(&made, 1, &size, kF32, &stride), "a description");
    return {made, api_.memory_desc_destroy};
  }

  Handle memory(const void* desc, const void* data) const {
    void* made = nullptr;
    check(api_.memory_create(&made, desc, engine_.get(), const_cast<void*>(data)), "memory");
    return {made, api_.memory_destroy};
  }

  // y [m, n] f32 = x [m, k] w [k, n] + bias; null where the library has none for this machine.
  Handle product(MatmulType type, int input, int64_t m, int64_t n, int64_t k) const {
    const Handle attributes = scale_attributes(type);
    const Handle x = desc({m, k}, input, {k, 1}), w = desc({k, n}, weight_type(type)),
                 bias = desc({1, n}, kF32, {n, 1}), y = desc({m, n}, kF32, {n, 1});
    void* made = nullptr;
    const int status = api_.matmul_primitive_desc_create(&made, engine_.get(), x.get(), w.get(),
                                                         bias.get(), y.get(), attributes.get());
    return {status == 0 ? made : nullptr, api_.primitive_desc_destroy};
  }

  Handle primitive(const void* desc) const {
    void* made = nullptr;
    check(api_.primitive_create(&made, desc), "a primitive");
    return {made, api_.primitive_destroy};
  }

  // w [n, k] as it lies in files, in the order of `wanted`.
  Handle reordered(const void* w, int64_t n, int64_t k, MatmulType type, const void* wanted) const {
    const Handle source_desc = desc({k, n}, weight_type(type), {1, k});
    const Handle source = memory(source_desc.get(), w);
    Handle destination = memory(wanted, kAllocate);
    void* made = nullptr;
    check(api_.reorder_primitive_desc_create(&made, source_desc.get(), engine_.get(), wanted,
                                             engine_.get(), nullptr),
          "a reorder");
    const Handle reorder_desc{made, api_.primitive_desc_destroy};
    const Handle reorder = primitive(reorder_desc.get());
    const Argument arguments[] = {{kSource, source.get()}, {kDestination, destination.get()}};
    execute(reorder.get(), arguments);
    return destination;
  }

  void execute(const void* primitive, std::span<const Argument> arguments) const {
    check(api_.primitive_execute(primitive, stream_.get(), static_cast<int>(arguments.size()),
                                 arguments.data()),
          "a primitive's run");
    check(api_.stream_wait(stream_.get()), "waiting");
  }

 private:
  static int weight_type(MatmulType type) { return data_type(type, false); }

  Handle make_engine() const {
    void* made = nullptr;
    check(api_.engine_create(&made, kCpu, 0), "an engine");
    return {made, api_.engine_destroy};
  }
  Handle make_stream() const {
    void* made = nullptr;
    check(api_.stream_create(&made, engine_.get(), kInOrder), "a stream");
    return {made, api_.stream_destroy};
  }

  // int8: one scale for the input, one for each output.
  Handle scale_attributes(MatmulType type) const {
    void* made = nullptr;
    check(api_.primitive_attr_create(&made), "attributes");
    Handle attributes{made, api_.primitive_attr_destroy};
    if (type == MatmulType::kS8) {
      check(api_.primitive_attr_set_scales_mask(made, kSource, 0), "scales of the input");
      check(api_.primitive_attr_set_scales_mask(made, kWeights, 1 << 1), "scales of the weights");
    }
    return attributes;
  }

  const OneDnn& api_;
  Handle engine_, stream_;
};

AlignedBuffer as_bf16(std::span<const float> values) {
  AlignedBuffer out(values.size() * sizeof(uint16_t));
  for (size_t i = 0; i < values.size(); ++i) out.as<uint16_t>()[i] = f32_to_bf16(values[i]);
  return out;
}

}  // namespace

std::shared_ptr<const OneDnn> open_onednn() {
  const char* named = std::getenv("TWOFOUR_ONEDNN");
  const bool chosen = named != nullptr && *named != '\0';
  const char* path = chosen ? named : kLibrary;
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    if (!chosen) return nullptr;
    throw Error("TWOFOUR_ONEDNN", fmt::format("{} cannot be loaded: {}", path, dlerror()), kRemedy);
  }
  auto api = load(Symbols(library, path));
  const Version& version = *api->version();
  if (version.major != kMajor) {
    throw Error(path, fmt::format("is oneDNN {}, expected {}", version.major, kMajor), kRemedy);
  }
  use_one_thread(library, path, version);
  return api;
}

std::string version_of(const OneDnn& library) {
  const Version& version = *library.version();
  return fmt::format("{}.{}.{}", version.major, version.minor, version.patch);
}

bool computes(const OneDnn& library, MatmulType type) {
  return Maker(library).product(type, data_type(type, false), 16, 64, 64) != nullptr;
}

struct OneDnnProduct::State {
  State(std::shared_ptr<const OneDnn> opened, MatmulType kind, int64_t rows, int64_t columns,
        bool moved)
      : api(std::move(opened)),
        maker(*api),
        type(kind),
        n(rows),
        k(columns),
        unsigned_input(moved && kind == MatmulType::kS8),
        weight(random_weight({n, k, type, false}, 1)),
        scales(n, kRandomWeightScale),
        bias(n, kRandomBias) {
    if (type == MatmulType::kBf16) bf16_weight = as_bf16(weight.as<float>());
    if (unsigned_input) take_128_from_bias();
  }

  void take_128_from_bias() {
    for (int64_t i = 0; i < n; ++i) {
      int32_t sum = 0;
      for (int64_t j = 0; j < k; ++j) sum += weight.as<int8_t>()[i * k + j];
      bias[i] -= static_cast<float>(128 * sum) * kRandomInputScale * kRandomWeightScale;
    }
  }

  void make_inputs(int64_t m) {
    x = random_inputs(type, m * k);
    if (type == MatmulType::kBf16) x = as_bf16({x.as<float>(), static_cast<size_t>(m * k)});
    for (int64_t i = 0; unsigned_input && i < m * k; ++i) x.data()[i] ^= std::byte{0x80};
    y = AlignedBuffer(m * n * sizeof(float));
    rows = m;
  }

  void add_argument(int index, Handle memory) {
    arguments.push_back({index, memory.get()});
    memories.push_back(std::move(memory));
  }
  void add_argument(int index, const Handle& desc, const void* data) {
    add_argument(index, maker.memory(desc.get(), data));
  }

  std::shared_ptr<const OneDnn> api;
  Maker maker;
  MatmulType type;
  int64_t n, k, rows = 0;
  bool unsigned_input;
  Tensor weight;
  AlignedBuffer bf16_weight, x, y;
  std::vector<float> scales, bias;
  float input_scale = kRandomInputScale;
  Handle primitive{nullptr, nullptr};
  std::vector<Handle> memories;
  std::vector<Argument> arguments;
};

OneDnnProduct::OneDnnProduct(std::shared_ptr<const OneDnn> library, MatmulType type, int64_t n,
                             int64_t k, bool unsigned_input)
    : state_(std::make_unique<State>(std::move(library), type, n, k, unsigned_input)) {}
OneDnnProduct::~OneDnnProduct() = default;

void OneDnnProduct::set_rows(int64_t m) {
  State& s = *state_;
  const Maker& maker = s.maker;
  const int input = data_type(s.type, s.unsigned_input);
  const Handle product = maker.product(s.type, input, m, s.n, s.k);
  if (product == nullptr) {
    throw Error("oneDNN", fmt::format("has no {} product [{}, {}] x [{}, {}] for this machine",
                                      matmul_type_name(s.type), m, s.k, s.k, s.n));
  }
  s.make_inputs(m);
  s.primitive = maker.primitive(product.get());
  s.arguments.clear();
  s.memories.clear();
  const void* weight = s.type == MatmulType::kBf16 ? s.bf16_weight.data()
                                                   : static_cast<const void*>(s.weight.data());
  s.add_argument(kWeights,
                 maker.reordered(weight, s.n, s.k, s.type,
                                 s.api->primitive_desc_query_md(product.get(), kQueryWeights, 0)));
  s.add_argument(kSource, maker.desc({m, s.k}, input, {s.k, 1}), s.x.data());
  s.add_argument(kBias, maker.desc({1, s.n}, kF32, {s.n, 1}), s.bias.data());
  s.add_argument(kDestination, maker.desc({m, s.n}, kF32, {s.n, 1}), s.y.data());
  if (s.type != MatmulType::kS8) return;
  s.add_argument(kScales | kSource, maker.vector_desc(1), &s.input_scale);
  s.add_argument(kScales | kWeights, maker.vector_desc(s.n), s.scales.data());
}

void OneDnnProduct::run() { state_->maker.execute(state_->primitive.get(), state_->arguments); }

std::span<const float> OneDnnProduct::results() const {
  return {state_->y.as<float>(), static_cast<size_t>(state_->rows * state_->n)};
}

}  // namespace twofour::cli
