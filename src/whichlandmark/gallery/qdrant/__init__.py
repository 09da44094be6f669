"""Qdrant as a search index of a gallery in SQLite or PostgreSQL."""
