"""The settings: their defaults, meaning and checks."""
