"""Links between pages and to files of the repository lead somewhere."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def pages() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split()]


def anchors(page: Path) -> set[str]:
    """Those that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", re.sub(r"\]\([^)]*\)", "", heading)).strip().lower() for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


def dead(page: Path) -> Iterator[str]:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        place, _, anchor = link.partition("#")
        target = page if not place else page.parent / place
        if re.match(r"[a-z]+:", link):
            continue
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            yield link


def test_links_lead_to_files_and_headings():
    found = pages()
    assert len(found) > 30
    wrong = {str(page.relative_to(ROOT)): links for page in found if (links := list(dead(page)))}
    assert not wrong


@pytest.mark.parametrize("link", ["nowhere.md", "page.md#no-such-heading", "#nor-this"])
def test_a_dead_link_is_found(tmp_path, link):
    page = tmp_path / "page.md"
    good = "[good](#a-heading-code--more) [web](https://example.org)"
    page.write_text(f"# A *heading*, `code` & more\n{good} [x]({link})\n")
    assert list(dead(page)) == [link]
