"""What several rules ask of a measurement."""
