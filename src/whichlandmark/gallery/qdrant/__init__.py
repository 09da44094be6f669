"""The gallery in Qdrant."""
