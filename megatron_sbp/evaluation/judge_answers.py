"""Answers of a model, kept so that nothing is asked twice."""

from __future__ import annotations

import json
import os
from pathlib import Path

from megatron_sbp.evaluation.judge_prompt import Answer


class Answers:
    """Answers by key, in memory and in a file with one JSON object a line.

    Every line is written at once, at the end. What a kill leaves of one is skipped by the next reader, and its
    question is asked again. The other *.answers.jsonl of the folder, those of other processes, are read too.

    Args:
        file: written by this process alone; None keeps answers in memory only.
    """

    def __init__(self, file: Path | None):
        self._file = file
        self._found: dict[str, Answer] = {}
        for other in sorted({file, *file.parent.glob("*.answers.jsonl")}) if file else []:
            if other.exists():
                self._found |= dict(filter(None, map(_read, other.read_bytes().splitlines())))
        self._torn = file is not None and file.exists() and file.read_bytes()[-1:] not in (b"", b"\n")

    def __contains__(self, key: str) -> bool:
        return key in self._found

    def __getitem__(self, key: str) -> Answer:
        return self._found[key]

    def add(self, key: str, answer: Answer, said: str) -> None:
        """Keeps an answer, with the words that it was read from."""
        self._found[key] = answer
        if self._file is None:
            return
        line = json.dumps({"key": key, **answer, "said": said}).encode() + b"\n"
        line = b"\n" + line if self._torn else line
        self._file.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            self._torn = os.write(file, line) < len(line)
        finally:
            os.close(file)


def _read(line: bytes) -> tuple[str, Answer] | None:
    try:
        row = json.loads(line)
        answer = {name: row[name] for name in ("factual", "relevant")}
        return (str(row["key"]), answer) if {*answer.values()} <= {True, False, None} else None
    except (ValueError, KeyError, TypeError):
        return None
