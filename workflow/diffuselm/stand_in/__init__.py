"""The tiny stand-in models: chat models of three families, built here, biased as real ones are."""
