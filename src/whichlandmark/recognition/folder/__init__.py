"""A recognizer folder on disk: settings, loading, filling, editing, tuning, maintenance."""
