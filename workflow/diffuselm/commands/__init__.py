"""The command line: one command per stage, each importing only what its stage needs."""
