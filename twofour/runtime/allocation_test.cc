// Counts allocations of the whole program, hence a program of its own.
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "twofour/runtime/engine.h"
#include "twofour/runtime/test_models.h"

namespace {
std::atomic<int64_t> allocations{0};

void* counted(size_t bytes, size_t alignment) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  void* memory = nullptr;
  if (posix_memalign(&memory, alignment, bytes == 0 ? 1 : bytes) != 0) throw std::bad_alloc();
  return memory;
}

// Inlined, GCC takes it for a mismatch with the new of a caller.
__attribute__((noinline)) void release(void* memory) { std::free(memory); }
}  // namespace

void* operator new(size_t bytes) { return counted(bytes, alignof(std::max_align_t)); }
// std::stable_sort's; the sanitizers' own would not count, and would miss its delete.
void* operator new(size_t bytes, const std::nothrow_t&) noexcept {
  return counted(bytes, alignof(std::max_align_t));
}
void* operator new(size_t bytes, std::align_val_t alignment) {
  return counted(bytes, static_cast<size_t>(alignment));
}
void operator delete(void* memory) noexcept { release(memory); }
void operator delete(void* memory, size_t) noexcept { release(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { release(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { release(memory); }

namespace twofour {
namespace {

TEST(Session, DoesNotAllocateInSteadyState) {
  for (const ModelDirectory& model :
       {ModelDirectory::open(golden_path("cross-encoder") / "model"), int8_model("minilm", 1)}) {
    const auto engine = Engine::load(model);
    for (int threads : {1, 2}) {
      Session session(engine, {threads});
      PackedTokens tokens;
      const std::vector<int32_t> ids = {2, 7, 9, 11, 3}, types = {0, 0, 0, 0, 0};
      for (int i = 0; i < 30; ++i) tokens.append(ids, types);
      std::vector<float> output(30 * engine->output_width());
      session.run(tokens.batch(), output);

      const int64_t before = allocations.load();
      session.run(tokens.batch(), output);
      const TokenBatch one{ids, types, std::span(tokens.offsets).first(2)};
      session.run(one, std::span(output).first(engine->output_width()));
      EXPECT_EQ(allocations.load() - before, 0) << threads << " threads";
    }
  }
}

}  // namespace
}  // namespace twofour
