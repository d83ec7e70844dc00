"""Training runs, healthy and broken by design, that `benchmarks.accuracy.watching` watches."""
