"""From photos to vectors: preprocessing, embedders, local features. Import modules directly."""
