/* C API of libtwofour: load a model directory, run token ids or texts.
 *
 * Functions that can fail return NULL or TWOFOUR_ERROR; twofour_last_error() then says why, for the
 * calling thread. What they should have written is then undefined. No exception leaves the library.
 * All functions may run on several threads at once, with one engine too; a session serves one
 * caller at a time, and nothing may be destroyed while a call uses it. Pointers are read or written
 * during the call only. Strings are UTF-8 and end with a zero. The library's soname changes when
 * this interface does in an incompatible way.
 */
#ifndef TWOFOUR_RUNTIME_C_API_H_
#define TWOFOUR_RUNTIME_C_API_H_

#include <stddef.h>
#include <stdint.h>

#include "twofour/base/export.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct twofour_engine twofour_engine;
typedef struct twofour_session twofour_session;

typedef enum twofour_status { TWOFOUR_OK = 0, TWOFOUR_ERROR = 1 } twofour_status;

/* "0.1.0"; lives as long as the library. */
TWOFOUR_API const char* twofour_version(void);

/* Of the calling thread's last failed call, valid until its next one; "" if none failed. */
TWOFOUR_API const char* twofour_last_error(void);

/* `kernel` names one to prefer (see `twofour doctor`); NULL: as TWOFOUR_FORCE_KERNEL says, or the
 * best. Destroy the engine. NULL and an error: no model, damaged files, an unknown kernel, or one
 * that this machine cannot run. */
TWOFOUR_API twofour_engine* twofour_engine_load(const char* model_directory, const char* kernel);

/* The same on a device: "cpu", whatever TWOFOUR_BACKEND says, or an NVIDIA GPU, "cuda:0"; NULL: as
 * TWOFOUR_DEVICE says, or the CPU, as twofour_engine_load does. An error too: no such device. */
TWOFOUR_API twofour_engine* twofour_engine_load_on_device(const char* model_directory,
                                                          const char* kernel, const char* device);

/* twofour_engine_load from memory: file i of `count` is called names[i], as relative to the model
 * directory ("config.json", "1_Pooling/config.json"), and holds sizes[i] bytes at data[i], of any
 * alignment. The engine keeps a copy of what it needs. An error too: a name that stands twice. */
TWOFOUR_API twofour_engine* twofour_engine_load_from_memory(const char* const* names,
                                                            const void* const* data,
                                                            const size_t* sizes, size_t count,
                                                            const char* kernel);

/* Sessions made from the engine stay valid. NULL does nothing. */
TWOFOUR_API void twofour_engine_destroy(twofour_engine* engine);

/* Floats of one result: labels of a classifier, width of an embedding. 0 if `engine` is NULL. */
TWOFOUR_API int64_t twofour_engine_output_width(const twofour_engine* engine);

/* `threads` of the CPU, at least 1. The session keeps what it needs of the engine. Destroy it. NULL
 * and an error: no engine, fewer threads; threads start with the first run. */
TWOFOUR_API twofour_session* twofour_session_create(const twofour_engine* engine, int threads);
/* NULL does nothing. */
TWOFOUR_API void twofour_session_destroy(twofour_session* session);

/* Token ids one sequence after the other, without padding: sequence i is [offsets[i], offsets[i +
 * 1]) of `ids` and `type_ids`. `offsets` has sequences + 1 entries, the first 0, the last the
 * number of tokens. `output` [sequences, output_width] ([tokens, output_width] for a model without
 * a head, and for one that classifies tokens) has `output_count` floats, which must be so many. An
 * error: an id that the model lacks, a sequence that is empty or longer than it reads, another
 * output_count. No sequences are no error: nothing is read or written. */
TWOFOUR_API twofour_status twofour_session_run_tokens(twofour_session* session, const int32_t* ids,
                                                      const int32_t* type_ids,
                                                      const int32_t* offsets, size_t sequences,
                                                      float* output, size_t output_count);

/* `first` and `second` hold `count` texts each. Where `second` or its text is NULL, the first text
 * stands alone; an empty text still makes a pair. Texts are cut to the model's length. `output`
 * [count, output_width] has `output_count` floats, which must be so many. An error: a first text
 * that is NULL, a model without a tokenizer or a head, or one that classifies tokens. */
TWOFOUR_API twofour_status twofour_session_run_texts(twofour_session* session,
                                                     const char* const* first,
                                                     const char* const* second, size_t count,
                                                     float* output, size_t output_count);

/* A score for each text or pair, as for twofour_session_run_texts, higher is more relevant: the
 * expected label, or a regression's output. `scores` gets `count` floats; `predicted` gets as many
 * labels (-1 for regression) and may be NULL. An error too: no classification head. */
TWOFOUR_API twofour_status twofour_session_score_texts(twofour_session* session,
                                                       const char* const* first,
                                                       const char* const* second, size_t count,
                                                       float* scores, int32_t* predicted);

#ifdef __cplusplus
}
#endif

#endif /* TWOFOUR_RUNTIME_C_API_H_ */
