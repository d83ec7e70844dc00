"""Reports draw what was measured and found, and compute nothing.

Terminal, JSON, SARIF, annotations, JUnit, Markdown, one HTML page.
"""

from fanin.report.formats import ENDINGS, FORMATS, notebook, render, save
from fanin.report.html.document import data_of
from fanin.report.terminal import TerminalReport, show

__all__ = ["ENDINGS", "FORMATS", "TerminalReport", "data_of", "notebook", "render", "save", "show"]
