"""Reports draw what was measured and found, and compute nothing.

Terminal, JSON, SARIF, annotations, JUnit, Markdown, one HTML page.
"""
