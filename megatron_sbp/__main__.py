"""`sbp` and `python -m megatron_sbp`: Ctrl-C prints a single line from the very start, while modules load."""

from __future__ import annotations

import io
import os
import sys
from typing import NoReturn

from megatron_sbp.base import process_end
from megatron_sbp.base.collector import collect_rarely


def main() -> NoReturn:
    """The program `sbp`."""
    process_end.end(run())


def run() -> int:
    """Runs the command line; returns the exit status."""
    _open_streams()
    collect_rarely()
    try:
        from megatron_sbp.cli import main as command

        return command()
    except KeyboardInterrupt:
        print("sbp: interrupted; run the same command again to resume", file=sys.stderr)
        return 130


def _open_streams() -> None:
    """Opens standard streams that the caller has closed (`>&-`): the next files that are opened would have their
    numbers, and libraries print into them. What the output cannot encode is printed as Python's escapes."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115  takes the lowest free number: that of the stream
            os.set_inheritable(getattr(sys, name).fileno(), True)
    if isinstance(sys.stdout, io.TextIOWrapper):  # documents and paths may not be in the terminal's character set
        sys.stdout.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    main()
