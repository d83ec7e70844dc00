"""Right verdicts over generated faults: ``python -m benchmarks.accuracy.verdicts [part]``.

Every case of `zoo.health.verdict_cases` is checked once; a verdict is right where the first finding has the right code
and names the right parameter, or where nothing above a note is found and that is right. Wrong ones are listed.
"""

from __future__ import annotations

import argparse
import warnings
from collections import Counter

import torch

from benchmarks.common import RESULTS, header, in_words
from zoo.health.verdict_cases import CASES, checked, judged


def table(right: Counter[str], total: Counter[str], wrong: list[str]) -> str:
    """Markdown: right of all by kind, then the wrong ones."""
    lines = ["| kind | right | of |", "| --- | --- | --- |"]
    lines += [f"| {kind} | {right[kind]} | {total[kind]} |" for kind in total]
    share = sum(right.values()) / max(sum(total.values()), 1)
    lines += [f"| all | {sum(right.values())} | {sum(total.values())} ({share:.1%}) |", ""]
    return "\n".join([*lines, "Wrong:" if wrong else "None wrong.", "", *wrong, ""])


def main() -> None:
    """Check all cases and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", default="", help="check cases with this in their name, and write no file")
    part, made = parser.parse_args().part, header()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    right, total, wrong = Counter[str](), Counter[str](), list[str]()
    for name, case in CASES.items():
        if part not in name:
            continue
        report = checked(case)
        good = judged(case, report)
        total[case.kind] += 1
        right[case.kind] += good
        if not good:
            found = "; ".join(f"{f.code} {f.severity} {f.paths[:2]}" for f in report.findings) or "nothing"
            wrong.append(f"- {case.kind}: {name}: wanted {' or '.join(case.codes) or 'silence'} {case.path}; {found}")
            print(wrong[-1], flush=True)
    text = table(right, total, wrong)
    print(text)
    if not part:
        head = f"# Verdicts\n\n{in_words(made)}\n\nCPU, one thread.\n\n"
        (RESULTS / "verdicts.md").write_text(head + text, encoding="utf-8")


if __name__ == "__main__":
    main()
