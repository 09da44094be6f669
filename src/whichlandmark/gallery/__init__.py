"""Galleries: photos with their vectors in SQLite or PostgreSQL, and the indexes that search them.

The gallery holds every photo; indexes are derived from it and can be deleted.
"""
