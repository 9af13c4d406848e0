"""Forcing diffuse distributions out of language models (Zhang et al., COLM 2024)."""

__version__ = "0.1.0"
