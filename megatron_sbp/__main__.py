"""`sbp` and `python -m megatron_sbp`: Ctrl-C gets one line of answer from the first moment on, while modules load."""

from __future__ import annotations

import sys


def main() -> int:
    """Runs the command line; returns the exit status."""
    try:
        from megatron_sbp.cli import main as run

        return run()
    except KeyboardInterrupt:
        print("sbp: interrupted; run the same command again to resume", file=sys.stderr)
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
