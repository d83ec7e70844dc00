"""What pytest must not collect: a module that needs a library which has no build for this platform."""

from __future__ import annotations

import importlib.util

collect_ignore = [] if importlib.util.find_spec("triton") else ["src/fanin/streams/triton_kernels.py"]
