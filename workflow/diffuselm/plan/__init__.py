"""What the Snakefile asks: the run matrix, fingerprints, the lock, progress."""
