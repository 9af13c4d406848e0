"""Processes that begin as forks of one that has imported what takes seconds."""

import multiprocessing

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["torch", "filelock", "pytest", "snakemake.cli"])
