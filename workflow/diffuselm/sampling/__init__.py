"""Asking a tuned model: what it answers, and the exact probabilities of its targets."""
