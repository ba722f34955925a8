// What a row of a head's output means. Training's evaluation and the run half share this
// definition.
#pragma once

#include <cstdint>
#include <span>

#include "twofour/io/model_directory.h"

namespace twofour {

struct Score {
  float score = 0;         // higher is more relevant
  int32_t predicted = -1;  // label, -1 when the head has no classes
};

// Classification with L > 1 labels: the expected label sum_l l * p_l (p = softmax in double),
// predicted the arg max, ties to the lower label. One label (regression): the output itself.
// Embedding heads have no score of a single row.
Score score_from_output(std::span<const float> row, const ModelConfig& config);

// Of two embeddings of one width: their inner product, summed in double; the cosine where the head
// normalizes.
float score_from_embeddings(std::span<const float> a, std::span<const float> b);

}  // namespace twofour
