"""Other ways to spread answers, a kind a file; what the paper does is a kind among them."""
