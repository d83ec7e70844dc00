"""Each integration imports with its library absent, and says what to install and why the import failed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.selection import few

PROGRAM = """
import sys
class Broken:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "{library}":
            raise ImportError("operator torchvision::nms does not exist")
sys.meta_path.insert(0, Broken())
from fanin.integrations.{module} import CheckCallback
try:
    CheckCallback()
except ImportError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("module", "library"),
    few([("transformers", "transformers"), ("lightning", "pytorch_lightning"), ("keras", "keras")], every=2),
)
def test_an_integration_imports_without_its_library_and_gives_the_reason(module, library):
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(module=module, library=library)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert f"fanin[{module}]" in ran.stdout
    assert "operator torchvision::nms does not exist" in ran.stdout
