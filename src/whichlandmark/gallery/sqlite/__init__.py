"""The gallery as one SQLite file."""
