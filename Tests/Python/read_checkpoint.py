"""Reads a checkpoint with h5py as a stranger would: read_checkpoint.py FILE [averaged]."""

import sys

import h5py
import numpy as np

path, averaged = sys.argv[1], sys.argv[2:] == ["averaged"]
with h5py.File(path) as file:
    assert file.attrs["format"] == "lockstep-checkpoint", dict(file.attrs)
    names = list(file["state/tensor_order"].asstr()[:])
    assert names and len(set(names)) == len(names)
    groups = ["parameters"]
    if averaged:
        assert "optimizer" not in file
    else:
        groups += ["optimizer/first_moment", "optimizer/second_moment"]
    for group in groups:
        found = []
        file[group].visititems(
            lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None
        )
        assert sorted(found) == sorted(names), (group, set(found) ^ set(names))
        tensors = [file[group][name] for name in names]
        assert all(tensor.dtype == np.float32 for tensor in tensors)
        assert sum(tensor.size for tensor in tensors) == file.attrs["parameter_count"]
        assert all(np.isfinite(tensor[...]).all() for tensor in tensors), group
        if group == "optimizer/second_moment":
            assert all((tensor[...] >= 0).all() for tensor in tensors)
            assert any((tensor[...] > 0).any() for tensor in tensors)
    for name in ("step", "position", "tokens_seen", "seed", "lanes", "incarnation"):
        assert file["state"].attrs[name] >= 0, name
    yaml = file["configuration/yaml"].asstr()[()]
    assert "\nmodel:\n" in yaml and "dimension: 32" in yaml, yaml
    # A sentencepiece model is a protocol buffer whose first piece is field 1.
    assert bytes(file["tokenizer/model"][:1]) == b"\x0a"
    assert "lockstep" in file["provenance/generator"].asstr()[()]
print(f"{path}: {len(names)} tensors in {len(groups)} groups")
