"""Embedders: callables from images to unit rows. Only the modules named torch_… import torch."""
