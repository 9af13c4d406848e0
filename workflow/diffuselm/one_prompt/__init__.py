"""One prompt and a list of answers, without a config: what `score` and `diffuse` are made of."""
