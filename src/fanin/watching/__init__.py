"""`fanin.watch`: the check of the first batch, and the first hundred steps of training measured and judged."""
