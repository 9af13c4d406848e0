"""Where a model comes from: the hub, or a GGUF file that is converted into a plain folder."""
