"""Which law a tensor follows, read off its numbers."""
