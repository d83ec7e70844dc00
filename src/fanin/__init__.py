"""fanin: plan, apply and prove the initial weights of any neural network.

The names below are loaded when they are first used, so ``import fanin`` costs next to nothing and needs no torch.
"""

from __future__ import annotations

import importlib
import random
import sys
from typing import TYPE_CHECKING, Any

from fanin._version import __version__

if TYPE_CHECKING:
    from fanin import initializers
    from fanin.calibration.calibrate import calibrate as calibrate
    from fanin.certificates.certificate import Certificate as Certificate
    from fanin.certificates.fingerprint import fingerprint as fingerprint
    from fanin.checking.check import check as check
    from fanin.checking.report import Report as Report
    from fanin.lab.compare import compare as compare
    from fanin.layout import Layout as Layout
    from fanin.layout import fans as fans
    from fanin.model.meta import keep_buffers as keep_buffers
    from fanin.model.meta import poison_ as poison_
    from fanin.planning.assignment import Assignment as Assignment
    from fanin.planning.build import plan as plan
    from fanin.planning.initialise import init_ as init_
    from fanin.planning.plan import Plan as Plan
    from fanin.scaling.coordinate_report import CoordinateCheck as CoordinateCheck
    from fanin.scaling.coordinates import coordinate_check as coordinate_check
    from fanin.scaling.groups import param_groups as param_groups
    from fanin.scaling.param_groups import ParamGroups as ParamGroups
    from fanin.streams.keys import key as key
    from fanin.tensors.grow import grow_ as grow_
    from fanin.tensors.holdings import holdings as holdings
    from fanin.theory.gains import gain as gain
    from fanin.watching.watcher import watch as watch

__all__ = [
    "Assignment",
    "Certificate",
    "CoordinateCheck",
    "Layout",
    "ParamGroups",
    "Plan",
    "Report",
    "__version__",
    "calibrate",
    "check",
    "compare",
    "coordinate_check",
    "fans",
    "fingerprint",
    "gain",
    "grow_",
    "holdings",
    "init_",
    "initializers",
    "keep_buffers",
    "key",
    "param_groups",
    "plan",
    "poison_",
    "watch",
]

# name -> module that defines it; the public names of the package, in one table. A name that is a module names itself.
_HOME: dict[str, str] = {
    "Assignment": "fanin.planning.assignment",
    "Certificate": "fanin.certificates.certificate",
    "CoordinateCheck": "fanin.scaling.coordinate_report",
    "Layout": "fanin.layout",
    "ParamGroups": "fanin.scaling.param_groups",
    "Plan": "fanin.planning.plan",
    "Report": "fanin.checking.report",
    "calibrate": "fanin.calibration.calibrate",
    "check": "fanin.checking.check",
    "compare": "fanin.lab.compare",
    "coordinate_check": "fanin.scaling.coordinates",
    "fans": "fanin.layout",
    "fingerprint": "fanin.certificates.fingerprint",
    "gain": "fanin.theory.gains",
    "grow_": "fanin.tensors.grow",
    "holdings": "fanin.tensors.holdings",
    "init_": "fanin.planning.initialise",
    "initializers": "fanin.initializers",
    "keep_buffers": "fanin.model.meta",
    "key": "fanin.streams.keys",
    "param_groups": "fanin.scaling.groups",
    "plan": "fanin.planning.build",
    "poison_": "fanin.model.meta",
    "watch": "fanin.watching.watcher",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        _load_rich()
        try:
            home = importlib.import_module(_HOME[name])
        except ModuleNotFoundError as error:
            from fanin.errors import MissingDependencyError

            raise MissingDependencyError.instead_of(error, needed_for=f"fanin.{name}") from error
        return home if _HOME[name] == f"fanin.{name}" else getattr(home, name)
    raise AttributeError(f"module 'fanin' has no attribute {name!r}; public names: {', '.join(__all__)}")


def _load_rich() -> None:
    """Load what draws from Python's generator when it is first imported, and put the generator back.

    Rich numbers its styles from a random start. Later, in the middle of a verb, that would move what a user has seeded.
    """
    if "rich.style" not in sys.modules:
        state = random.getstate()
        try:
            importlib.import_module("rich.style")
        finally:
            random.setstate(state)


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_HOME))
