"""Files of the stages: columns, how they are written, what made them; and the machine's GPUs."""
