"""The tables, figures, claims and cards."""
