"""The dispositions of signals that a terminal gives."""

from __future__ import annotations

import signal


def usual_signals() -> None:
    """Undoes what nohup and a shell's `&` do: they ignore SIGHUP and SIGINT, every process of the tests would inherit
    that, and a run that inherits it ignores them rightly."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
