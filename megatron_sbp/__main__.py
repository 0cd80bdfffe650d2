"""`sbp` and `python -m megatron_sbp`: Ctrl-C prints a single line from the very start, while modules load."""

from __future__ import annotations

import sys

from megatron_sbp.base.collector import collect_rarely


def main() -> int:
    """Runs the command line; returns the exit status."""
    collect_rarely()
    try:
        from megatron_sbp.cli import main as run

        return run()
    except KeyboardInterrupt:
        print("sbp: interrupted; run the same command again to resume", file=sys.stderr)
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
