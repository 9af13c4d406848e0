"""Files that stages pass to each other: their columns, how they are written, and what made them."""
