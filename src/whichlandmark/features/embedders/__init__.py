"""Embedders that need no torch: an Embedder is any callable from images to unit rows."""
