"""What pytest must not collect: a module that needs a library which has no build for this platform."""

from __future__ import annotations

import importlib.util
import signal

collect_ignore = [] if importlib.util.find_spec("triton") else ["src/fanin/streams/triton_kernels.py"]

# A background job of a shell starts with Ctrl-C ignored, and hands that on to its children: tests of Ctrl-C need it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
