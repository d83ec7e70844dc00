"""Run the lab's experiments and write what docs/lab.md shows.

python -m tools.lab_page                     # all of them
python -m tools.lab_page one-third symmetry  # some, then the page
python -m tools.lab_page --page              # the page alone, from the committed numbers
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from fanin.lab.experiments import EXPERIMENTS, Settings, run

DOCS = Path(__file__).parents[1] / "docs"
HEAD = """# The lab

The experiments that the field's folklore rests on, on data that comes with a package. Each writes a figure, its
numbers and a paragraph: `fanin lab NAME --out DIR` (`fanin lab` lists them; `--full` is larger and takes longer). The
figures and numbers below are committed, and the tests hold each to what its name claims.

"""


def page() -> str:
    parts = [HEAD]
    for name in EXPERIMENTS:
        data = json.loads((DOCS / "lab" / f"{name}.json").read_text(encoding="utf-8"))
        alt = EXPERIMENTS[name][1]
        parts.append(f"## {data['title']}\n\n`fanin lab {name}`\n\n![{alt}](lab/{name}.png)\n\n{data['text']}\n\n")
        parts.append(f"[numbers](lab/{name}.json)\n\n")
    return "".join(parts).rstrip() + "\n"


def main(arguments: list[str]) -> None:
    names = [] if arguments == ["--page"] else arguments or list(EXPERIMENTS)
    for name in names:
        begin = time.perf_counter()
        run(name, Settings()).save(DOCS / "lab")
        print(f"{name}: {time.perf_counter() - begin:.0f} s", file=sys.stderr, flush=True)
    (DOCS / "lab.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
