"""The network side: torch lives here and in training.py, nowhere else."""
