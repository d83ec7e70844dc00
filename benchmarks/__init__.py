"""Side-by-side runs against peers, and how close predictions are to measurements."""
