"""Metrics of samples and exact probabilities, with intervals."""
