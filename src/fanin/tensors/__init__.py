"""One tensor: filling it, and what cannot be written."""
