"""Clean a labelled photo collection: duplicates, unreadable, indoor and unsupported photos."""
