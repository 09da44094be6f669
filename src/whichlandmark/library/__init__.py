"""Answers into photo libraries: sidecars, Immich, albums, and groups of unknown landmarks."""
