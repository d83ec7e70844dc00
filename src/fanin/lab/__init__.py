"""Experiments: data sets, models, training runs, comparisons and the figures people learn from."""
