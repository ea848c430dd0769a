"""Makes parallel text of any size out of a prepared dataset: corpus.py DATASET COUNT PREFIX.

Writes PREFIX.en and PREFIX.de. A pair is two pairs of the dataset, drawn at random; one word in
a hundred is a new one, put together from two halves, so that there is no end of different words,
as in real text. Equal arguments give equal bytes.
"""

import json
import random
import sys

import h5py


def pieces(path):
    """The pieces of a sentencepiece model by id: field 1 of the message, of each its field 1."""

    def varint(data, place):
        number = shift = 0
        while True:
            byte = data[place]
            place += 1
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return number, place

    data = open(path, "rb").read()
    found, place = [], 0
    while place < len(data):
        tag, place = varint(data, place)
        count, place = varint(data, place)
        if tag == 1 << 3 | 2:
            length, start = varint(data, place + 1)
            found.append(data[start : start + length].decode())
        place += count
    return found


def texts(folder):
    """The training pairs of a dataset as text."""
    model = pieces(f"{folder}/tokenizer.model")
    names = ["" if piece.startswith("<0x") else piece for piece in model]
    sides = ([], [])
    for shard in json.load(open(f"{folder}/dataset.json"))["splits"]["train"]["shards"]:
        with h5py.File(f"{folder}/{shard['file']}") as file:
            for side, name in zip(sides, ("source", "target")):
                tokens = file[f"{name}/tokens"][:].tolist()
                offsets = file[f"{name}/offsets"][:].tolist()
                for start, end in zip(offsets, offsets[1:]):
                    text = "".join(names[token] for token in tokens[start:end])
                    side.append(text.replace("\u2581", " ").split())
    return [pair for pair in zip(*sides) if len(pair[0]) <= 25 and len(pair[1]) <= 25]


def main(folder, count, prefix):
    draw = random.Random(1)
    pairs = texts(folder)
    halves = sorted({word for pair in pairs for word in pair[0] if word.isalpha()})
    files = [open(f"{prefix}.{language}", "w") for language in ("en", "de")]
    for _ in range(count):
        chosen = [pairs[int(draw.random() * len(pairs))] for _ in range(2)]
        for side, file in enumerate(files):
            words = chosen[0][side] + chosen[1][side]
            for place in range(len(words)):
                if draw.random() < 0.01:
                    first, second = (halves[int(draw.random() * len(halves))] for _ in range(2))
                    words[place] = first + second[len(second) // 2 :]
            file.write(" ".join(words) + "\n")


main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
