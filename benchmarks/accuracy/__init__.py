"""How right: roles, moments, predictions, plans and verdicts over the zoos."""
