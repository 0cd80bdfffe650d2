"""Words that no page, message, or docstring uses: British spellings, and phrases that the field has other words for."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PLACES = ("README.md", "CONTRIBUTING.md", "docs", "megatron_sbp", "slurm", "tests", "tools")
KINDS = {".css", ".html", ".js", ".md", ".py", ".sbatch", ".sh", ".txt"}
REFUSED = re.compile(
    r"centre|neighbour|quantised|\b(?:goes\s+on|whoever|closing\s+step|must\s+lie|sureness)\b", re.IGNORECASE
)


def test_refused_words_are_not_used():
    found = [path for place in PLACES for path in (ROOT / place, *(ROOT / place).rglob("*"))]
    files = [path for path in found if path.is_file() and path.suffix in KINDS and path != Path(__file__)]
    assert len(files) > 600
    used = [
        f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, hit.start()) + 1}: {hit[0]}"
        for path in files
        for text in (path.read_text(),)
        for hit in REFUSED.finditer(text)
    ]
    assert not used, "\n".join(used)
