"""Reports draw what was measured and found, and compute nothing.

Terminal, JSON, SARIF, annotations, JUnit, Markdown, one HTML page.
"""

from fanin.report.formats import ENDINGS, FORMATS, assert_output, notebook, render, save
from fanin.report.html.document import data_of
from fanin.report.terminal import TerminalReport, show

__all__ = ["ENDINGS", "FORMATS", "TerminalReport", "assert_output", "data_of", "notebook", "render", "save", "show"]
