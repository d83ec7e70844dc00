"""Learning rates that transfer: parameter groups over widths and depths, and the check that they keep updates equal."""
