"""Healthy and broken networks: what a check must pass, and what it must name."""
