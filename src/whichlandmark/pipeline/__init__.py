"""From photo files to vectors: decode ahead, batch by shape, run the network, keep the order."""
