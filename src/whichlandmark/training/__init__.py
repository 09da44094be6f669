"""Train an embedder: config, losses, samplers, loop, checkpoints. Needs the extra `train`."""
