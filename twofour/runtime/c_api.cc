#include "twofour/runtime/c_api.h"

#include <algorithm>
#include <cstddef>
#include <exception>
#include <map>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <vector>

#include "twofour/base/error.h"
#include "twofour/runtime/engine.h"
#include "twofour/runtime/scorer.h"

struct twofour_engine {
  std::shared_ptr<const twofour::Engine> engine;
};

// Token and text calls have their own scratch, made when first used.
struct twofour_session {
  std::shared_ptr<const twofour::Engine> engine;
  int threads;
  std::unique_ptr<twofour::Session> session;
  std::unique_ptr<twofour::Scorer> scorer;
};

namespace {

using twofour::Error;
using twofour::TextPair;

std::string& last_error() {
  thread_local std::string message;
  return message;
}

void remember(const char* message) noexcept {
  try {
    last_error() = message;
  } catch (...) {  // not even memory for the message
  }
}

// Runs `body`; false and a message if it throws.
template <class Body>
bool guard(Body body) noexcept {
  try {
    body();
    return true;
  } catch (const std::bad_alloc&) {
    remember("out of memory");
  } catch (const std::exception& error) {
    remember(error.what());
  } catch (...) {
    remember("unknown error");
  }
  return false;
}

void require(const void* pointer, const char* function, const char* name) {
  if (pointer == nullptr) throw Error(function, std::string(name) + " is NULL");
}

void require_size(const char* function, size_t found, size_t rows, int64_t width) {
  if (found == rows * static_cast<size_t>(width)) return;
  throw Error(function, "output has " + std::to_string(found) + " floats: expected [" +
                            std::to_string(rows) + ", " + std::to_string(width) + "]");
}

using Files = std::map<std::string, std::span<const std::byte>>;

Files make_files(const char* function, const char* const* names, const void* const* data,
                 const size_t* sizes, size_t count) {
  if (count > 0) {
    require(names, function, "names");
    require(data, function, "data");
    require(sizes, function, "sizes");
  }
  Files files;
  for (size_t i = 0; i < count; ++i) {
    require(names[i], function, "a name");
    if (sizes[i] > 0) require(data[i], function, names[i]);
    if (!files.try_emplace(names[i], static_cast<const std::byte*>(data[i]), sizes[i]).second) {
      throw Error(function, std::string("the file '") + names[i] + "' stands twice");
    }
  }
  return files;
}

twofour::EngineOptions options_for(const char* kernel, const char* device = nullptr) {
  twofour::EngineOptions options;
  if (kernel != nullptr) options.force_kernel = kernel;
  if (device != nullptr) options.device = device;
  return options;
}

twofour_engine* load(const char* function, const char* model_directory, const char* kernel,
                     const char* device) {
  twofour_engine* result = nullptr;
  guard([&] {
    require(model_directory, function, "model_directory");
    result =
        new twofour_engine{twofour::Engine::load(model_directory, options_for(kernel, device))};
  });
  return result;
}

std::vector<TextPair> make_pairs(const char* function, const char* const* first,
                                 const char* const* second, size_t count) {
  if (count > 0) require(first, function, "first");
  std::vector<TextPair> pairs(count);
  for (size_t i = 0; i < count; ++i) {
    require(first[i], function, "a text");
    pairs[i].first = first[i];
    if (second != nullptr && second[i] != nullptr) pairs[i].second = second[i];
  }
  return pairs;
}

twofour::Scorer& scorer_of(twofour_session& session) {
  if (session.scorer == nullptr) {
    twofour::ScorerOptions options;
    options.threads = session.threads;
    session.scorer = std::make_unique<twofour::Scorer>(session.engine, options);
  }
  return *session.scorer;
}

}  // namespace

const char* twofour_version(void) { return TWOFOUR_VERSION; }

const char* twofour_last_error(void) { return last_error().c_str(); }

twofour_engine* twofour_engine_load(const char* model_directory, const char* kernel) {
  return load("twofour_engine_load", model_directory, kernel, nullptr);
}

twofour_engine* twofour_engine_load_on_device(const char* model_directory, const char* kernel,
                                              const char* device) {
  return load("twofour_engine_load_on_device", model_directory, kernel, device);
}

twofour_engine* twofour_engine_load_from_memory(const char* const* names, const void* const* data,
                                                const size_t* sizes, size_t count,
                                                const char* kernel) {
  constexpr const char* kName = "twofour_engine_load_from_memory";
  twofour_engine* result = nullptr;
  guard([&] {
    const Files files = make_files(kName, names, data, sizes, count);
    const auto model = twofour::ModelDirectory::from_memory(files, "model in memory");
    result = new twofour_engine{twofour::Engine::load(model, options_for(kernel))};
  });
  return result;
}

void twofour_engine_destroy(twofour_engine* engine) { delete engine; }

int64_t twofour_engine_output_width(const twofour_engine* engine) {
  return engine == nullptr ? 0 : engine->engine->output_width();
}

twofour_session* twofour_session_create(const twofour_engine* engine, int threads) {
  twofour_session* result = nullptr;
  guard([&] {
    require(engine, "twofour_session_create", "engine");
    if (threads < 1) throw Error("twofour_session_create", "threads must be at least 1");
    result = new twofour_session{engine->engine, threads, nullptr, nullptr};
  });
  return result;
}

void twofour_session_destroy(twofour_session* session) { delete session; }

twofour_status twofour_session_run_tokens(twofour_session* session, const int32_t* ids,
                                          const int32_t* type_ids, const int32_t* offsets,
                                          size_t sequences, float* output, size_t output_count) {
  constexpr const char* kName = "twofour_session_run_tokens";
  const bool done = guard([&] {
    require(session, kName, "session");
    if (sequences == 0) return;
    require(ids, kName, "ids");
    require(type_ids, kName, "type_ids");
    require(offsets, kName, "offsets");
    require(output, kName, "output");
    if (session->session == nullptr) {
      session->session = std::make_unique<twofour::Session>(
          session->engine, twofour::SessionOptions{session->threads});
    }
    const auto tokens = static_cast<size_t>(std::max(0, offsets[sequences]));
    session->session->run({{ids, tokens}, {type_ids, tokens}, {offsets, sequences + 1}},
                          {output, output_count});
  });
  return done ? TWOFOUR_OK : TWOFOUR_ERROR;
}

twofour_status twofour_session_run_texts(twofour_session* session, const char* const* first,
                                         const char* const* second, size_t count, float* output,
                                         size_t output_count) {
  constexpr const char* kName = "twofour_session_run_texts";
  const bool done = guard([&] {
    require(session, kName, "session");
    const std::vector<TextPair> pairs = make_pairs(kName, first, second, count);
    if (count > 0) require(output, kName, "output");
    require_size(kName, output_count, count, session->engine->output_width());
    const std::vector<float> rows = scorer_of(*session).run(pairs);
    std::copy(rows.begin(), rows.end(), output);
  });
  return done ? TWOFOUR_OK : TWOFOUR_ERROR;
}

twofour_status twofour_session_score_texts(twofour_session* session, const char* const* first,
                                           const char* const* second, size_t count, float* scores,
                                           int32_t* predicted) {
  constexpr const char* kName = "twofour_session_score_texts";
  const bool done = guard([&] {
    require(session, kName, "session");
    const std::vector<TextPair> pairs = make_pairs(kName, first, second, count);
    if (count > 0) require(scores, kName, "scores");
    const std::vector<twofour::Score> found = scorer_of(*session).score(pairs);
    for (size_t i = 0; i < found.size(); ++i) {
      scores[i] = found[i].score;
      if (predicted != nullptr) predicted[i] = found[i].predicted;
    }
  });
  return done ? TWOFOUR_OK : TWOFOUR_ERROR;
}
