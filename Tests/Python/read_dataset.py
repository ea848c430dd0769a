"""Reads a prepared folder with h5py and json as a stranger would: read_dataset.py FOLDER."""

import json
import pathlib
import sys

import h5py
import numpy as np

folder = pathlib.Path(sys.argv[1])
description = json.loads((folder / "dataset.json").read_text())
vocabulary = description["tokenizer"]["vocabulary_size"]
shards = 0
for split, entry in description["splits"].items():
    pairs = 0
    for shard in entry["shards"]:
        with h5py.File(folder / shard["file"]) as file:
            assert file.attrs["format"] == "lockstep-shard", dict(file.attrs)
            assert file.attrs["split"] == split
            assert file.attrs["vocabulary_size"] == vocabulary
            count = file.attrs["sequence_count"]
            for side in ("source", "target"):
                offsets, tokens = file[side]["offsets"][:], file[side]["tokens"][:]
                assert len(offsets) == count + 1 and offsets[0] == 0
                assert offsets[-1] == len(tokens) == file.attrs[f"{side}_token_count"]
                assert (np.diff(offsets.astype(np.int64)) > 0).all()
                assert tokens.min() >= 0 and tokens.max() < vocabulary
                preview = file["preview"][side].asstr()[:]
                assert 0 < len(preview) <= count and all(isinstance(t, str) for t in preview)
            if entry.get("texts") and pairs == 0:
                text = (folder / entry["texts"][0]["file"]).read_text().splitlines()
                preview = file["preview/source"].asstr()[:]
                assert list(preview) == text[: len(preview)]
            pairs += count
            shards += 1
    assert pairs == entry["pairs"], split
print(f"{folder}: {shards} shards, {vocabulary} pieces")
