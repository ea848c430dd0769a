"""Reads a prepared folder with h5py and json as a stranger would: read_dataset.py FOLDER."""

import collections
import json
import pathlib
import sys

import h5py
import numpy as np

folder = pathlib.Path(sys.argv[1])
description = json.loads((folder / "dataset.json").read_text())
assert description["format"] == "lockstep-dataset" and description["format_version"] == 2
streams = description["streams"]
vocabulary = description["tokenizer"]["vocabulary_size"]
index = h5py.File(folder / description["index"]["file"])
for entry in description["index"]["arrays"]:
    array = index[entry["name"]]
    assert (list(array.shape), str(array.dtype)) == (entry["shape"], entry["type"]), entry
    assert array.id.get_offset() == entry["byte_offset"], entry
shards = 0
for split, entry in description["splits"].items():
    items, tokens_of_split = 0, np.zeros(len(streams), int)
    combinations = collections.Counter()
    for shard in range(entry["shards"]):
        with h5py.File(folder / f"{split}-{shard:05}.h5") as file:
            assert file.attrs["format"] == "lockstep-shard", dict(file.attrs)
            assert file.attrs["split"] == split
            assert file.attrs["vocabulary_size"] == vocabulary
            count = file.attrs["sequence_count"]
            lengths = []
            for number, side in enumerate(streams):
                offsets, tokens = file[side]["offsets"][:], file[side]["tokens"][:]
                assert len(offsets) == count + 1 and offsets[0] == 0
                assert offsets[-1] == len(tokens) == file.attrs[f"{side}_token_count"]
                lengths.append(np.diff(offsets.astype(np.int64)))
                assert (lengths[-1] > 0).all()
                assert tokens.min() >= 0 and tokens.max() < vocabulary
                preview = file["preview"][side].asstr()[:]
                assert 0 < len(preview) <= count and all(isinstance(t, str) for t in preview)
                assert index[split]["shards/tokens"][shard, number] == len(tokens)
                assert index[split]["shards/unknown_tokens"][shard, number] == (tokens == 0).sum()
                tokens_of_split[number] += len(tokens)
            if entry.get("texts") and items == 0:
                text = (folder / entry["texts"][0]["file"]).read_text().splitlines()
                preview = file["preview/source"].asstr()[:]
                assert list(preview) == text[: len(preview)]
            combinations.update(zip(*(side.tolist() for side in lengths)))
            longest = collections.Counter(np.maximum.reduce(lengths).tolist())
            begin, end = index[split]["longest_side/offsets"][shard : shard + 2]
            known = zip(*(index[split]["longest_side"][n][begin:end] for n in ("length", "count")))
            assert dict(known) == longest, (split, shard)
            assert index[split]["shards/items"][shard] == count
            size = (folder / f"{split}-{shard:05}.h5").stat().st_size
            assert index[split]["shards/byte_count"][shard] == size
            items += count
            shards += 1
    assert items == entry["items"] and tokens_of_split.tolist() == entry["tokens"], split
    if entry["shards"]:
        rows = map(tuple, index[split]["lengths/by_stream"][:].tolist())
        assert dict(zip(rows, index[split]["lengths/count"][:])) == combinations, split
print(f"{folder}: {shards} shards, {vocabulary} pieces")
