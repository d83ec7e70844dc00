"""How names, numbers and files are written for readers; the one place that makes hostile text harmless."""
