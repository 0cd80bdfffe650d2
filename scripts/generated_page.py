"""The command line of programs that write a page of docs/."""

from __future__ import annotations

import argparse
from pathlib import Path


def write_or_check(description: str | None, target: Path, text: str) -> int:
    """Writes the page, or with --check only compares; returns the exit status, 1 if it is out of date."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit status 1 if the page is out of date")
    if parser.parse_args().check:
        return int(not target.exists() or target.read_text() != text)
    target.write_text(text)
    return 0
