import sys

import h5py

with h5py.File(sys.argv[1]) as checkpoint:
    name = checkpoint["state/tensor_order"].asstr()[0]
    tensor = checkpoint["parameters"][name]
    print(name, tensor.shape, tensor[:].mean())
