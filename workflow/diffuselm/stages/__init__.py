"""The stages: files in, files out, one module each, and one process each when the workflow runs."""
