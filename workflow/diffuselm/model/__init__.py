"""A language model: where it comes from, how it is opened, asked and read."""
