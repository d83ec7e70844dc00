"""Certificates: a short text that two models share exactly where they hold the same numbers."""
