"""What runs a recipe: drafts, the sweep that settles them, and the network as recipes see it."""
