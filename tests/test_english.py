"""Words that no page, message, or docstring uses: British spellings, and phrases that the field has other words for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLACES = (
    "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "Makefile", "setup.py", "benchmarks", "docs", "examples",
    "megatron_sbp", "scripts", "slurm", "tests", "tools",
)  # fmt: skip
KINDS = {".css", ".html", ".js", ".md", ".py", ".sbatch", ".sh", ".txt", ".yaml"}
UNREAD = {Path(__file__), ROOT / "megatron_sbp/evaluation/prompts/judge.txt"}  # the prompt's digest is part of results
REFUSED = re.compile(
    r"centre|neighbour|quantised"
    r"|\b(?:goes\s+on|whoever|closing\s+step|must\s+lie|sureness|anew|mend(?:s|ed|ing)?|lies\s+on|is\s+at\s+it)\b"
    r"|\bstands?\s+(?:in(?!\s+for\b)|with|around)\b"
    # In text, not as a name in code or a key: before another word, or at the end of a clause.
    r"|\btrainings(?=\s+(?!import\b)[a-z]|[,;.](?:\s|$)|'(?!\])|$)",
    re.IGNORECASE | re.MULTILINE,
)


def test_refused_words_are_not_used():
    found = [path for place in PLACES for path in (ROOT / place, *(ROOT / place).rglob("*"))]
    files = [
        path for path in found
        if path.is_file() and (path.suffix in KINDS or path.name == "Makefile") and path not in UNREAD
    ]  # fmt: skip
    assert len(files) > 1000 and {ROOT / "Makefile", ROOT / "CHANGELOG.md"} <= set(files)
    used = [
        f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, hit.start()) + 1}: {hit[0]}"
        for path in files
        for text in (path.read_text(),)
        for hit in REFUSED.finditer(text)
    ]
    assert not used, "\n".join(used)


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("two trainings of an arm", True),
        ("the ranks of all trainings.", True),
        ("of two trainings' losses", True),
        ("`memory.trainings.STAGE` of the plan", False),
        ('sizes = plan["memory"]["trainings"]', False),
        ("for stage, entry in trainings.items():", False),
        ("from trainings import Log", False),
        ("it stands\n    in the file", True),
        ("CPU ranks stand in for GPUs", False),
        ("the recommended amendment", False),
    ],
)
def test_text_is_told_apart_from_code(text, refused):
    assert bool(REFUSED.search(text)) is refused
