"""From a graph to facts about it: what depends on what, norms, regions, contractions, attention, residual streams."""
