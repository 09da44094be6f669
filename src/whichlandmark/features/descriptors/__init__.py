"""Vectors in files, of anyone's and for anyone: .npy, safetensors, HDF5, MATLAB."""
