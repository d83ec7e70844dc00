"""Memory that is put back, and modules that a function body imports."""

from __future__ import annotations

import os
import sys
from functools import partial
from types import ModuleType

import pytest
import torch

from fanin.model.code_names import CodeNames, looked_up
from fanin.model.kept_objects import _keep_memory
from fanin.model.untouched import untouched


@pytest.mark.parametrize("now", [b"\x01\x01", b"\xff\xff", b"\x05\x05"])
def test_memory_is_put_back_whether_its_bytes_grew_or_shrank(now):
    live = memoryview(bytearray(b"\x05\x05"))
    put_back = _keep_memory(live)
    live[:] = now
    assert put_back()
    assert bytes(live) == b"\x05\x05"


def test_memory_that_cannot_be_written_is_not_kept():
    assert _keep_memory(memoryview(b"\x05")) is None
    assert _keep_memory(object()) is None


@pytest.mark.parametrize(
    ("package", "name", "found"),
    [
        ("mine.deep", "helper", ["mine.deep.helper", "mine.helper"]),
        ("mine", "helper", ["mine.helper"]),
        ("", "helper", []),
        ("", "mine", ["mine"]),
        ("mine.deep", "absent", []),
    ],
)
def test_modules_that_a_function_imports_are_looked_up_from_its_package_outwards(monkeypatch, package, name, found):
    for full in ("mine", "mine.deep", "mine.helper", "mine.deep.helper"):
        monkeypatch.setitem(sys.modules, full, ModuleType(full))
    code = CodeNames(names={name}, imports=True, stores=False, stores_any_name=False)
    assert [m.__name__ for m in looked_up({"__package__": package}, code)] == found


def test_a_module_that_code_enters_without_naming_the_table_is_taken_out():
    model = torch.nn.Identity()
    model.enter = partial(sys.modules.__setitem__, "entered_by_hand")

    def forward():
        model.enter(ModuleType("entered_by_hand"))
        assert "entered_by_hand" in sys.modules

    untouched(model, forward, values=True)
    assert "entered_by_hand" not in sys.modules


def modules_by_a_computed_name():
    getattr(sys, "".join(reversed("seludom")))["replaced_by_hand"] = ModuleType("another")


def umask_by_a_computed_name():
    getattr(os, "".join(reversed("ksamu")))(0o77)


def test_a_setting_that_code_reaches_by_a_computed_name_is_put_back(monkeypatch):
    mine = ModuleType("replaced_by_hand")
    monkeypatch.setitem(sys.modules, "replaced_by_hand", mine)
    os.umask(before := os.umask(0))
    for change in (modules_by_a_computed_name, umask_by_a_computed_name):
        model = torch.nn.Identity()
        model.change = change
        untouched(model, change, values=True)
    assert sys.modules["replaced_by_hand"] is mine
    assert os.umask(before) == before
