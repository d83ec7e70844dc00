"""One measured quantity a file: a pure function from a tensor to a few numbers."""
