"""Small file systems that a test can fill: a tmpfs, which only root may mount."""

from __future__ import annotations

import subprocess
from pathlib import Path


def mount(folder: Path, options: str) -> str:
    """Mounts a tmpfs with these options; returns why that is not possible, or nothing."""
    words = ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)]
    done = subprocess.run(words, capture_output=True, text=True)
    return f"cannot mount here: {done.stderr.strip()}" if done.returncode else ""


def unmount(folder: Path) -> None:
    """Unmounts it, even if a process that a failed test left still has a file of it open."""
    if folder.is_mount():
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
