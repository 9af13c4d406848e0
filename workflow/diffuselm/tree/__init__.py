"""The method: the prefix tree, its loss and its layouts; no files, no data frames."""
