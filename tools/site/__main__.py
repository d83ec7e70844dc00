"""Make the documentation site.

python -m tools.site            # write the pages and the navigation, and build the site
python -m tools.site --pages    # the committed pages and the navigation alone
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import fanin
from tools import lab_page, recipe_page, reference_pages, rule_pages
from tools.site.nav import with_nav
from tools.site.offline import add_versions, vendor_shim
from tools.site.places import CONFIG, DOCS, SITE, SOURCES
from tools.site.sources import write_sources


def write_committed() -> None:
    """Pages that are committed because people read them in the repository, and the navigation."""
    rule_pages.write_pages(DOCS / "rules")
    recipe_page.PAGE.write_text(recipe_page.updated(recipe_page.PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    reference_pages.write_pages()
    (DOCS / "lab.md").write_text(lab_page.page(), encoding="utf-8")
    CONFIG.write_text(with_nav(CONFIG.read_text(encoding="utf-8")), encoding="utf-8")


def build() -> None:
    """The site from its pages: zensical in strict mode, then what it lacks to work from disk."""
    latest = SITE / "latest"
    shutil.rmtree(latest, ignore_errors=True)
    command = [Path(sys.executable).with_name("zensical"), "build", "--strict", "--clean", "--config-file", CONFIG]
    subprocess.run(command, check=True)
    vendor_shim(latest)
    add_versions(SITE, ".".join(fanin.__version__.split(".")[:2]))


def main(arguments: list[str]) -> None:
    write_committed()
    if arguments != ["--pages"]:
        write_sources(SOURCES)
        build()


if __name__ == "__main__":
    main(sys.argv[1:])
