"""A torch model read as data: `capture` it, walk the `Graph`, ask for the role of each parameter."""
