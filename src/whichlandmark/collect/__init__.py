"""Photos and facts from the web, fetched only when a command asks for them."""
