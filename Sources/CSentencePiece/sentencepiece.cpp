#include "sentencepiece.h"

#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

struct sentencepiece_model {
  sentencepiece::SentencePieceProcessor processor;
};

namespace {

using sentencepiece::util::Status;

/* malloc'd copy with a terminating zero; throws when memory is out. */
char *copy_text(std::string_view text) {
  char *copy = static_cast<char *>(std::malloc(text.size() + 1));
  if (copy == nullptr) throw std::bad_alloc();
  if (!text.empty()) std::memcpy(copy, text.data(), text.size());
  copy[text.size()] = 0;
  return copy;
}

/* Runs `body`, which returns a Status, and turns every way of failing into text. */
template <typename Body>
char *reason_of_failure(Body body) noexcept {
  static const char unnamed[] = "unknown C++ exception";
  try {
    const Status status = body();
    if (status.ok()) return nullptr;
    const std::string text = status.ToString();
    return copy_text(text.empty() ? unnamed : text);
  } catch (const std::exception &error) {
    return strdup(error.what());
  } catch (...) {
    return strdup(unnamed);
  }
}

/* Sentences that lie in one buffer. */
class BufferedSentences : public sentencepiece::SentenceIterator {
 public:
  BufferedSentences(const char *text, const uint64_t *ends, size_t count)
      : text_(text), ends_(ends), count_(count) {
    fetch();
  }
  bool done() const override { return index_ >= count_; }
  void Next() override {
    ++index_;
    fetch();
  }
  const std::string &value() const override { return value_; }
  Status status() const override { return Status(); }

 private:
  void fetch() {
    if (done()) return;
    const uint64_t begin = index_ == 0 ? 0 : ends_[index_ - 1];
    value_.assign(text_ + begin, ends_[index_] - begin);
  }

  const char *text_;
  const uint64_t *ends_;
  size_t count_;
  size_t index_ = 0;
  std::string value_;
};

/* "--name=value" words; given as a map, because the trainer logs a command line it is given. */
std::unordered_map<std::string, std::string> parsed(const char *options) {
  std::unordered_map<std::string, std::string> result;
  std::istringstream words(options);
  for (std::string word; words >> word;) {
    const size_t equals = word.find('=');
    if (word.rfind("--", 0) != 0 || equals == std::string::npos) {
      throw std::invalid_argument("expected --name=value, found " + word);
    }
    result[word.substr(2, equals - 2)] = word.substr(equals + 1);
  }
  return result;
}

Status out_of_range(const sentencepiece_model *model, int32_t id) {
  return Status(sentencepiece::util::StatusCode::kOutOfRange,
                "token id " + std::to_string(id) + " outside of a vocabulary of " +
                    std::to_string(model->processor.GetPieceSize()));
}

}  // namespace

extern "C" {

char *sentencepiece_train(const char *options, const char *text, const uint64_t *ends,
                          size_t sentence_count, uint8_t **model, size_t *model_size) {
  return reason_of_failure([&] {
    BufferedSentences sentences(text, ends, sentence_count);
    std::string serialized;
    const Status status =
        sentencepiece::SentencePieceTrainer::Train(parsed(options), &sentences, &serialized);
    if (!status.ok()) return status;
    *model = reinterpret_cast<uint8_t *>(copy_text(serialized));
    *model_size = serialized.size();
    return status;
  });
}

char *sentencepiece_open(const uint8_t *model, size_t size, sentencepiece_model **opened) {
  return reason_of_failure([&] {
    auto loaded = std::make_unique<sentencepiece_model>();
    const Status status = loaded->processor.LoadFromSerializedProto(
        std::string_view(reinterpret_cast<const char *>(model), size));
    if (status.ok()) *opened = loaded.release();
    return status;
  });
}

void sentencepiece_close(sentencepiece_model *model) { delete model; }

int32_t sentencepiece_piece_count(const sentencepiece_model *model) {
  return model->processor.GetPieceSize();
}

char *sentencepiece_piece(const sentencepiece_model *model, int32_t id, char **text,
                          size_t *size) {
  return reason_of_failure([&] {
    if (id < 0 || id >= model->processor.GetPieceSize()) return out_of_range(model, id);
    const std::string &piece = model->processor.IdToPiece(id);
    *text = copy_text(piece);
    *size = piece.size();
    return Status();
  });
}

int32_t sentencepiece_id(const sentencepiece_model *model, const char *piece, size_t size) {
  return model->processor.PieceToId(std::string_view(piece, size));
}

char *sentencepiece_encode(const sentencepiece_model *model, const char *text, size_t size,
                           int32_t **ids, size_t *count) {
  return reason_of_failure([&] {
    std::vector<int> encoded;
    const Status status = model->processor.Encode(std::string_view(text, size), &encoded);
    if (!status.ok()) return status;
    static_assert(sizeof(int) == sizeof(int32_t), "ids are copied as they lie");
    *ids = reinterpret_cast<int32_t *>(copy_text(std::string_view(
        reinterpret_cast<const char *>(encoded.data()), encoded.size() * sizeof(int))));
    *count = encoded.size();
    return status;
  });
}

char *sentencepiece_decode(const sentencepiece_model *model, const int32_t *ids, size_t count,
                           char **text, size_t *size) {
  return reason_of_failure([&] {
    for (size_t i = 0; i < count; ++i) {
      if (ids[i] < 0 || ids[i] >= model->processor.GetPieceSize()) {
        return out_of_range(model, ids[i]);
      }
    }
    std::string decoded;
    const Status status =
        model->processor.Decode(std::vector<int>(ids, ids + count), &decoded);
    if (!status.ok()) return status;
    *text = copy_text(decoded);
    *size = decoded.size();
    return status;
  });
}

void sentencepiece_free(void *memory) { std::free(memory); }

}  // extern "C"
