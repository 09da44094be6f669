"""Galleries: photos with their vectors in SQLite, PostgreSQL or Qdrant, and the search index.

The database holds every photo; the index files are derived from it and can be deleted.
"""
