"""The HTTP server and its page: a door. Nothing is imported here: decode workers stay light."""
