"""How well networks train from each start."""
