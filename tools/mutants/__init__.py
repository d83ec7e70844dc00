"""Change the source in small ways, one at a time, and see whether the tests notice.

python -m tools.mutants --sample 200 --seed 1 --out benchmarks/results/mutants.md   # draw, run, write the table
python -m tools.mutants --packages moments,rules --limit 40                         # the next 40 of these packages
python -m tools.mutants --again --tests tests/rules/test_causes.py                  # survivors, against newer tests

cosmic-ray lists the mutants, makes them and keeps the session; this package draws the sample and chooses the tests:

* `sample`: the sample is drawn over places in the source (a comparison, an arithmetic operator, a number, a condition,
  ...), then over what can be put there. Annotations are no places: they do not run. `is` and `==` are not exchanged.
* `reach`: a mutant runs against the tests of its own package, ``tests/PACKAGE`` without the slow ones, and the doctests
  of its file. One run under coverage beforehand, of at most 100 s of processor time, notes which tests run which
  lines. The tests that run the changed statement come first, then those that run anything of the file or start a
  process, and for a statement at the top of a file, which runs when it is imported, all others. After 10 s of tests a
  mutant counts as survived, even if a later test would notice it. ``--again`` runs the tests that were written since.
  Files that are named with ``--tests`` are run whole, in place of what the trace chooses.
* `processes`: everything happens in a copy of the committed tree in a temporary folder, in processes that are forked
  when the heavy libraries are imported and fanin is not. Tests that take six times the processor time of the unchanged
  ones count as a kill.
* `judge`: the tests that killed the mutants of a package run once more on the unchanged source. A kill by a test
  that then fails is taken back.

The session is in ``.mutants/``: a second call goes on where the first stopped.
"""
