"""The documentation site: pages made from the code, and what zensical builds of them (``make docs``)."""
