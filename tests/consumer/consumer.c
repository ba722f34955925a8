/* Scores two documents for a query through the C API. */
#include <stdio.h>
#include <stdlib.h>
#include <twofour/runtime/c_api.h>

static void die(const char* what) {
  fprintf(stderr, "%s: %s\n", what, twofour_last_error());
  exit(1);
}

int main(int argc, char** argv) {
  const char* queries[] = {"image editor", "image editor"};
  const char* documents[] = {"paint program", "mail server"};
  float scores[2];
  twofour_engine* engine;
  twofour_session* session;
  if (argc != 2) return 2;

  if (twofour_engine_load("/nonexistent", NULL) != NULL || twofour_last_error()[0] == '\0') return 3;
  engine = twofour_engine_load(argv[1], NULL);
  if (engine == NULL) die("load");
  session = twofour_session_create(engine, 2);
  if (session == NULL) die("session");
  if (twofour_session_score_texts(session, queries, documents, 2, scores, NULL) != TWOFOUR_OK) die("score");
  printf("%.6f %.6f\n", scores[0], scores[1]);
  twofour_session_destroy(session);
  twofour_engine_destroy(engine);
  return 0;
}
