/* Scores two documents for a query through the C API, with the model loaded from a folder and from
 * memory. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <twofour/runtime/c_api.h>

static void die(const char* what) {
  fprintf(stderr, "%s: %s\n", what, twofour_last_error());
  exit(1);
}

/* The file's bytes, which the caller frees. */
static void* read_file(const char* folder, const char* name, size_t* size) {
  char path[4096];
  FILE* file;
  void* bytes;
  snprintf(path, sizeof path, "%s/%s", folder, name);
  file = fopen(path, "rb");
  if (file == NULL || fseek(file, 0, SEEK_END) != 0) exit(4);
  *size = (size_t)ftell(file);
  rewind(file);
  bytes = malloc(*size);
  if (bytes == NULL || fread(bytes, 1, *size, file) != *size) exit(4);
  fclose(file);
  return bytes;
}

static twofour_engine* load_from_memory(const char* folder) {
  const char* names[] = {"config.json", "vocab.txt", "tokenizer_config.json", "model.safetensors"};
  const void* data[4];
  void* bytes[4];
  size_t sizes[4];
  twofour_engine* engine;
  int i;
  for (i = 0; i < 4; ++i) data[i] = bytes[i] = read_file(folder, names[i], &sizes[i]);
  engine = twofour_engine_load_from_memory(names, data, sizes, 4, NULL);
  for (i = 0; i < 4; ++i) free(bytes[i]);
  return engine;
}

static void score(const twofour_engine* engine, float* scores) {
  const char* queries[] = {"image editor", "image editor"};
  const char* documents[] = {"paint program", "mail server"};
  twofour_session* session;
  if (engine == NULL) die("load");
  session = twofour_session_create(engine, 2);
  if (session == NULL) die("session");
  if (twofour_session_score_texts(session, queries, documents, 2, scores, NULL) != TWOFOUR_OK)
    die("score");
  twofour_session_destroy(session);
}

int main(int argc, char** argv) {
  float scores[2], again[2];
  twofour_engine *engine, *from_memory;
  if (argc != 2) return 2;

  if (twofour_engine_load("/nonexistent", NULL) != NULL || twofour_last_error()[0] == '\0')
    return 3;
  engine = twofour_engine_load(argv[1], NULL);
  score(engine, scores);
  from_memory = load_from_memory(argv[1]);
  score(from_memory, again);
  if (memcmp(scores, again, sizeof scores) != 0) return 5;
  printf("%.6f %.6f\n", scores[0], scores[1]);
  twofour_engine_destroy(from_memory);
  twofour_engine_destroy(engine);
  return 0;
}
