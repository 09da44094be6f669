"""Index photos into a recognizer folder: in one process, in shards, or on a Ray cluster."""
