"""Photos on disk → Photos."""
