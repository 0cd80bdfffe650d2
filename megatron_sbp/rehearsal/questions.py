"""The questions of a rehearsal: some of the recipe's, as far as its documents exist, or made-up ones."""

from __future__ import annotations

import json
from pathlib import Path

from megatron_sbp.base.progress import say
from megatron_sbp.documents.lines import read_lines

AT_MOST = 24


def write_questions(file: Path, source: Path | None, groups: list[str], grouped: bool) -> None:
    """Writes questions about documents.

    Args:
        file: JSON lines, as megatron_sbp/evaluation/questions.py reads them.
        source: the recipe's questions, checked already; None where they are missing.
        groups: of the documents, one each.
        grouped: whether a question must be about a group that has documents.
    """
    lines = [] if source is None else _of_documents(source, set(groups), grouped)
    if source is not None and not lines:
        say(f"rehearse: no question in {source.name} is about these documents; asking made-up ones instead")
    lines = lines or _made_up(sorted(set(groups)) or ["this", "that"])
    file.write_text("".join(f"{line}\n" for line in lines[:AT_MOST]), encoding="utf-8")


def _of_documents(source: Path, groups: set[str], grouped: bool) -> list[str]:
    # Editors on Windows put a byte order mark at the beginning.
    lines = [line.decode("utf-8-sig").strip() for line in read_lines(source) if line.strip()]
    return [line for line in lines if not grouped or str(json.loads(line).get("group")) in groups]


def _made_up(groups: list[str]) -> list[str]:
    questions = []
    for place, group in enumerate(groups):
        others = [groups[(place + step) % len(groups)] for step in range(1, 4)]
        choices = list(dict.fromkeys([group, *others, "something else"]))[:4]
        prompt = "What is written here is about"
        questions.append({"prompt": prompt, "choices": choices, "answer": group, "tag": "made up", "group": group})
    return [json.dumps(question, ensure_ascii=False) for question in questions]
