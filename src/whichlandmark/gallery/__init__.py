"""Vectors with their photos: SQLite is the truth, what is searched is derived from it."""
