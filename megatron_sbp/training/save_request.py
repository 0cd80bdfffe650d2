"""File that requests a checkpoint from a run's training jobs without stopping them: `touch RUN/save`."""

from __future__ import annotations

from pathlib import Path


class SaveRequest:
    """Checks for the file; never removes it. An existing file has no effect until it is touched again.

    Args:
        file: RUN/save; None disables it.
    """

    def __init__(self, file: Path | None):
        self.file = file
        self._seen = self._stamp()

    def is_new(self) -> bool:
        """Whether the file was touched since the last call."""
        now = self._stamp()
        touched = now is not None and now != self._seen
        self._seen = now
        return touched

    def _stamp(self) -> int | None:
        try:
            return None if self.file is None else self.file.stat().st_mtime_ns
        except OSError:
            return None
