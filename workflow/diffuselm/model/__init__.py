"""A language model: where it comes from, how it is opened and spoken to."""
