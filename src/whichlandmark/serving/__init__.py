"""HTTP server and web page. Imports nothing, because every decode worker imports this package."""
