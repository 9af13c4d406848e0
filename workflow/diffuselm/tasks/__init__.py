"""What is asked: task files, target sets, names and persons."""
