#pragma once

#include <stddef.h>
#include <stdint.h>

/* A C face of libsentencepiece (C++). Every function that can fail returns NULL on success or the
   reason as text; no C++ exception leaves this library. Texts, models and ids it hands out, and
   reasons, are released with sentencepiece_free. */

#ifdef __cplusplus
extern "C" {
#endif

/* A loaded model; safe to read from several threads. */
typedef struct sentencepiece_model sentencepiece_model;

/* Trains on `sentence_count` sentences: sentence i is text[ends[i - 1] ..< ends[i]], from 0 for the
   first. `options` are the trainer's own, "--name=value" separated by spaces. The serialized model
   goes to *model. */
char *sentencepiece_train(const char *options, const char *text, const uint64_t *ends,
                          size_t sentence_count, uint8_t **model, size_t *model_size);

char *sentencepiece_open(const uint8_t *model, size_t size, sentencepiece_model **opened);
void sentencepiece_close(sentencepiece_model *model);

int32_t sentencepiece_piece_count(const sentencepiece_model *model);

/* The text of one piece, as the model spells it. */
char *sentencepiece_piece(const sentencepiece_model *model, int32_t id, char **text, size_t *size);

/* The id of a piece; that of the unknown piece when the model has none such. */
int32_t sentencepiece_id(const sentencepiece_model *model, const char *piece, size_t size);

char *sentencepiece_encode(const sentencepiece_model *model, const char *text, size_t size,
                           int32_t **ids, size_t *count);

char *sentencepiece_decode(const sentencepiece_model *model, const int32_t *ids, size_t count,
                           char **text, size_t *size);

void sentencepiece_free(void *memory);

#ifdef __cplusplus
}
#endif
