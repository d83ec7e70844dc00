"""What makes pages and files of this project; run from its root as `python -m tools.NAME`."""
