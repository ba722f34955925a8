/* The C API from C11, against the shared library: c_api_test MODEL, a cross-encoder of three
 * labels. */
#include "twofour/runtime/c_api.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures = 0;

#define CHECK(condition)                                                                         \
  do {                                                                                           \
    if (!(condition)) {                                                                          \
      fprintf(stderr, "%s:%d: %s (%s)\n", __FILE__, __LINE__, #condition, twofour_last_error()); \
      ++failures;                                                                                \
    }                                                                                            \
  } while (0)

static void check_errors(void) {
  CHECK(strcmp(twofour_last_error(), "") == 0);
  CHECK(twofour_engine_load("/no/such/model", NULL) == NULL);
  CHECK(strstr(twofour_last_error(), "/no/such/model") != NULL);
  CHECK(twofour_engine_load(NULL, NULL) == NULL);
  CHECK(strstr(twofour_last_error(), "[twofour_engine_load] model_directory is NULL") != NULL);
  CHECK(twofour_engine_load_on_device(NULL, NULL, "cpu") == NULL);
  CHECK(strstr(twofour_last_error(), "[twofour_engine_load_on_device] model_directory is NULL") !=
        NULL);
  CHECK(twofour_engine_load_on_device("/no/such/model", NULL, "cpu") == NULL);
  CHECK(strstr(twofour_last_error(), "/no/such/model") != NULL);
  CHECK(twofour_session_create(NULL, 1) == NULL);
  CHECK(twofour_engine_output_width(NULL) == 0);
  CHECK(twofour_session_run_texts(NULL, NULL, NULL, 0, NULL, 0) == TWOFOUR_ERROR);
  twofour_engine_destroy(NULL);
  twofour_session_destroy(NULL);
}

static void check_tokens(twofour_session* session) {
  const int32_t ids[] = {2, 10, 3, 2, 11, 12, 3};
  const int32_t type_ids[] = {0, 0, 0, 0, 0, 1, 1};
  const int32_t offsets[] = {0, 3, 7};
  float output[6];
  CHECK(twofour_session_run_tokens(session, ids, type_ids, offsets, 2, output, 6) == TWOFOUR_OK);
  for (int i = 0; i < 6; ++i) CHECK(isfinite(output[i]));
  CHECK(twofour_session_run_tokens(session, ids, type_ids, offsets, 2, output, 5) == TWOFOUR_ERROR);
  CHECK(strstr(twofour_last_error(), "output has 5 floats: expected [2, 3]") != NULL);
  CHECK(twofour_session_run_tokens(session, NULL, NULL, NULL, 0, NULL, 0) == TWOFOUR_OK);
}

static void check_texts(twofour_session* session) {
  const char* first[] = {"red running shoe", "city cat"};
  const char* second[] = {"This shoe is light.", NULL};
  float rows[6], scores[2];
  int32_t labels[2];
  CHECK(twofour_session_run_texts(session, first, second, 2, rows, 6) == TWOFOUR_OK);
  CHECK(twofour_session_run_texts(session, first, second, 2, rows, 5) == TWOFOUR_ERROR);
  CHECK(strstr(twofour_last_error(), "output has 5 floats: expected [2, 3]") != NULL);
  CHECK(twofour_session_score_texts(session, first, second, 2, scores, labels) == TWOFOUR_OK);
  for (int i = 0; i < 2; ++i) {
    CHECK(scores[i] >= 0 && scores[i] <= 2);
    for (int label = 0; label < 3; ++label) CHECK(rows[3 * i + label] <= rows[3 * i + labels[i]]);
  }
  float again[2];
  CHECK(twofour_session_score_texts(session, first, second, 2, again, NULL) == TWOFOUR_OK);
  CHECK(memcmp(again, scores, sizeof scores) == 0);
  second[1] = ""; /* a pair with an empty text, unlike a text alone */
  CHECK(twofour_session_score_texts(session, first, second, 2, again, NULL) == TWOFOUR_OK);
  CHECK(again[0] == scores[0] && again[1] != scores[1]);
}

/* The bytes of a file from an odd address on; free what `block` gets. */
static const char* read_unaligned(const char* folder, const char* name, char** block,
                                  size_t* size) {
  char path[4096];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE* file = fopen(path, "rb");
  *block = NULL;
  *size = 0;
  CHECK(file != NULL);
  if (file == NULL) return NULL;
  fseek(file, 0, SEEK_END);
  *size = (size_t)ftell(file);
  rewind(file);
  *block = malloc(*size + 1);
  CHECK(fread(*block + 1, 1, *size, file) == *size);
  fclose(file);
  return *block + 1;
}

static void check_memory_errors(const char* const* names, const void* const* data,
                                const size_t* sizes) {
  CHECK(twofour_engine_load_from_memory(names, data, sizes, 2, NULL) == NULL);
  CHECK(strstr(twofour_last_error(), "model in memory/model.safetensors") != NULL);
  CHECK(twofour_engine_load_from_memory(NULL, NULL, NULL, 0, NULL) == NULL);
  CHECK(strstr(twofour_last_error(), "config.json") != NULL);
  CHECK(twofour_engine_load_from_memory(names, NULL, sizes, 3, NULL) == NULL);
  CHECK(strstr(twofour_last_error(), "data is NULL") != NULL);
  CHECK(twofour_engine_load_from_memory(names, data, sizes, 3, "no_such_kernel") == NULL);
  CHECK(strstr(twofour_last_error(), "no_such_kernel") != NULL);
  const char* twice[] = {names[0], names[1], names[0]};
  CHECK(twofour_engine_load_from_memory(twice, data, sizes, 3, NULL) == NULL);
  CHECK(strstr(twofour_last_error(), "the file 'config.json' stands twice") != NULL);
  const char* unnamed[] = {names[0], NULL};
  CHECK(twofour_engine_load_from_memory(unnamed, data, sizes, 2, NULL) == NULL);
  CHECK(strstr(twofour_last_error(), "a name is NULL") != NULL);
  const void* missing[] = {data[0], NULL};
  CHECK(twofour_engine_load_from_memory(names, missing, sizes, 2, NULL) == NULL);
  CHECK(strstr(twofour_last_error(), "vocab.txt is NULL") != NULL);
}

/* An engine whose files are overwritten and freed once it is loaded. */
static twofour_engine* load_from_memory(const char* folder) {
  enum { kFiles = 3 };
  const char* names[kFiles] = {"config.json", "vocab.txt", "model.safetensors"};
  const void* data[kFiles];
  char* blocks[kFiles];
  size_t sizes[kFiles];
  for (int i = 0; i < kFiles; ++i) {
    data[i] = read_unaligned(folder, names[i], &blocks[i], &sizes[i]);
  }
  check_memory_errors(names, data, sizes);
  twofour_engine* engine = twofour_engine_load_from_memory(names, data, sizes, kFiles, NULL);
  CHECK(engine != NULL);
  for (int i = 0; i < kFiles; ++i) {
    if (blocks[i] != NULL) memset(blocks[i], 0, sizes[i] + 1);
    free(blocks[i]);
  }
  return engine;
}

static void check_from_memory(const char* folder, twofour_session* from_folder) {
  const char* first[] = {"red running shoe", "city cat"};
  float expected[6], rows[6];
  twofour_engine* engine = load_from_memory(folder);
  if (engine == NULL) return;
  twofour_session* session = twofour_session_create(engine, 2);
  CHECK(twofour_session_run_texts(from_folder, first, NULL, 2, expected, 6) == TWOFOUR_OK);
  CHECK(twofour_session_run_texts(session, first, NULL, 2, rows, 6) == TWOFOUR_OK);
  CHECK(memcmp(rows, expected, sizeof rows) == 0);
  twofour_session_destroy(session);
  twofour_engine_destroy(engine);
}

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  check_errors();
  CHECK(strcmp(twofour_version(), TWOFOUR_EXPECTED_VERSION) == 0);
  twofour_engine* engine = twofour_engine_load(argv[1], NULL);
  CHECK(engine != NULL);
  if (engine == NULL) return 1;
  CHECK(twofour_engine_output_width(engine) == 3);
  CHECK(twofour_session_create(engine, 0) == NULL);
  twofour_session* session = twofour_session_create(engine, 2);
  CHECK(session != NULL);
  twofour_engine_destroy(engine); /* the session keeps what it needs */
  check_tokens(session);
  check_texts(session);
  check_from_memory(argv[1], session);
  twofour_session_destroy(session);
  return failures == 0 ? 0 : 1;
}
