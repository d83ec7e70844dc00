"""Drawings: pure functions from numbers to SVG text, one kind a file."""
