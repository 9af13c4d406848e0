"""The method: the prefix tree, its loss, and sampling over it; no files, no data frames."""
