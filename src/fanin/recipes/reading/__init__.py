"""Find the law that a tensor follows, from its numbers."""
