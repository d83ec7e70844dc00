"""How fast: filling, and the cost of a check."""
