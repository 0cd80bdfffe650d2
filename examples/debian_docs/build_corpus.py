"""Builds corpus.jsonl.zst from technical documentation in Debian packages.

    python build_corpus.py --download                               # the packages of USUAL
    python build_corpus.py --packages perl-doc python3.11-doc --debs FOLDER --out corpus.jsonl.zst

Rows have the fields id (package:path), package, title, text. The same packages give the same bytes. README.md has the
licenses, and says what is left out.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import re
import subprocess
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import Progress

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))
from debian_packages import contents, control
from extract import Page, from_html, from_pod, from_text, join, sections

HERE = Path(__file__).parent
MIN_CHARACTERS = 200
MIN_LETTERS = 0.6
"""Share of letters and white space; tables of numbers and of symbols have less."""
MAX_FOREIGN = 0.1
"""Share of the letters that are not ASCII; English has less."""
MAX_LINKS = 0.6
"""Share of the characters in links; an index has more."""

PACKAGES = {  # and the paths in them that are left out
    "debian-reference-en": r"\.txt\.gz$",  # all pages once more
    "erlang-doc": "",
    "linux-doc-6.1": r"/html/translations/",
    "openjdk-17-doc": r"/(class-use|package-tree|package-use)\b|-use\.html$",
    "perl-doc": "",
    "postgresql-doc-15": "",
    "python3.11-doc": "",
    "qtbase5-doc-html": r"-members\.html$",  # names without a word
    "rust-doc": r"/html/(src|core|alloc|implementors)/",  # source text, and what std says again
}
USUAL = ("debian-reference-en", "perl-doc", "postgresql-doc-15", "python3.11-doc", "qtbase5-doc-html")
"""What is built unless packages are named; README.md has the numbers of these and of others."""
_INDEX = re.compile(r"(^|/)(genindex|py-modindex|modindex|bookindex|index-\d+|index-all|search|allclasses|all)\b[^/]*$")
_SOURCES = re.compile(r"/_sources/")  # of the HTML beside them
DROPS = ("left out", "short", "long", "symbols", "language", "index", "duplicate")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--packages", nargs="+", default=list(USUAL), metavar="NAME", help="names, or a file with a name a line"
    )
    parser.add_argument("--debs", type=Path, default=HERE / "debs", help="folder of the .deb files")
    parser.add_argument("--download", action="store_true", help="let apt-get download what is missing in that folder")
    parser.add_argument(
        "--split", type=int, default=4000, metavar="CHARACTERS", help="divide longer pages at headings (0: never)"
    )
    parser.add_argument(
        "--longest", type=int, default=0, metavar="CHARACTERS", help="leave out longer documents (0: none)"
    )
    parser.add_argument("--out", type=Path, default=HERE / "corpus.jsonl.zst")
    options = parser.parse_args()
    try:
        found = [find(name, options.debs, options.download) for name in names(options.packages)]
        drops: dict[str, Counter[str]] = {}
        kept: dict[str, Counter[str]] = {}
        files.write_jsonl_zst(options.out, rows(found, options.split, options.longest, kept, drops))
    except (OSError, InputError) as error:
        parser.error(str(error))
    print(table(kept, drops))
    print(f"{options.out}: {options.out.stat().st_size:,} bytes")


def names(words: list[str]) -> list[str]:
    """Names of packages, sorted.

    Args:
        words: Names, and files with a name on each line; `#` starts a comment.

    Returns:
        Every name once.

    Raises:
        InputError: there is none, or a word is neither a name nor a file.
    """
    found: set[str] = set()
    for word in words:
        lines = Path(word).read_text(encoding="utf-8").splitlines() if Path(word).is_file() else [word]
        for number, line in enumerate(lines, 1):
            name = line.split("#")[0].strip()
            if name and not re.fullmatch(r"[a-z0-9][a-z0-9+.-]+", name):
                place = (word, number) if Path(word).is_file() else (None, None)
                raise InputError(f"'{name}' is no name of a Debian package", file=place[0], line=place[1])
            found |= {name} if name else set()
    if not found:
        raise InputError("no package is named", key="--packages")
    return sorted(found)


def find(name: str, folder: Path, download: bool) -> Path:
    """The .deb file of a package.

    Args:
        name: The package.
        folder: Where the .deb files are.
        download: Have apt-get download a missing one.

    Returns:
        Its path.

    Raises:
        InputError: there is none, or several, or apt-get failed.
    """
    found = sorted(folder.glob(f"{name}_*.deb"))
    if not found and download:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            done = subprocess.run(
                ["apt-get", "download", name], cwd=folder, capture_output=True, text=True, check=False
            )
        except FileNotFoundError as error:
            raise InputError(f"{name} is missing, and there is no apt-get to download it", file=folder) from error
        if done.returncode:
            raise InputError(f"apt-get cannot download {name}:\n{done.stderr.strip()}", file=folder)
        found = sorted(folder.glob(f"{name}_*.deb"))
    if not found:
        raise InputError(f"has no {name}_*.deb; run apt-get download {name} there, or pass --download", file=folder)
    if len(found) > 1:
        raise InputError(f"has several of {name}: {', '.join(path.name for path in found)}; keep one", file=folder)
    return found[0]


def rows(
    packages: list[Path],
    split: int,
    longest: int,
    kept: dict[str, Counter[str]],
    drops: dict[str, Counter[str]],
) -> Iterator[dict[str, str]]:
    """The corpus, by package and path, without documents that say the same.

    Args:
        packages: The .deb files.
        split: Characters from which a page is divided; 0 for never.
        longest: Characters of the longest document that is kept; 0 for any.
        kept: Gets documents and characters of every package.
        drops: Gets what is dropped, by reason.

    Yields:
        Rows with id, package, title, text.

    Raises:
        InputError: a package, or a page in it, is damaged.
    """
    seen: set[bytes] = set()
    for path in packages:
        fields = control(path)
        name = fields["Package"]
        label = f"{name} {fields['Version']}"
        count, dropped = kept.setdefault(label, Counter()), drops.setdefault(label, Counter())
        for place, section, title, text in sorted(documents(path, name, split, longest, dropped)):
            known = hashlib.sha256(" ".join(text.split()).encode()).digest()
            if known in seen:
                dropped["duplicate"] += 1
                continue
            seen.add(known)
            count["documents"] += 1
            count["characters"] += len(text)
            yield {
                "id": f"{name}:{place}#{section}" if section else f"{name}:{place}",
                "package": name,
                "title": title,
                "text": text,
            }


def documents(
    package: Path, name: str, split: int, longest: int, dropped: Counter[str]
) -> Iterator[tuple[str, int, str, str]]:
    """The documents of a package, as its archive has them.

    Args:
        package: The .deb file.
        name: The package.
        split: Characters from which a page is divided; 0 for never.
        longest: Characters of the longest document that is kept; 0 for any.
        dropped: Gets what is dropped, by reason.

    Yields:
        Path, number of the section (from 1, or 0 for a whole page), title, text.

    Raises:
        InputError: the package, or a page in it, is damaged.
    """
    left_out = re.compile(PACKAGES[name]) if PACKAGES.get(name) else None
    with Progress(f"read {name}", None, "pages") as progress:
        for path, raw in contents(package):
            reader = reader_of(path)
            if reader is None:
                continue
            progress.advance()
            if _SOURCES.search(path) or (left_out and left_out.search(path)):
                dropped["left out"] += 1
                continue
            try:
                page = reader(gzip.decompress(raw) if path.endswith(".gz") else raw)
            except (ValueError, OSError, EOFError, zlib.error) as error:
                raise InputError(f"{path}: {error}", file=package) from error
            long = split and sum(len(words) for _, words in page.blocks) > split
            for number, part in enumerate(sections(page, split) if long else [page], 1):
                text = join(part.blocks)
                reason = "index" if _INDEX.search(path) else fault(text, part.link_share, longest)
                if reason:
                    dropped[reason] += 1
                else:
                    yield path, number if long else 0, part.title or PurePosixPath(path).stem, text


def reader_of(path: str) -> Callable[[bytes], Page] | None:
    """What reads a file of a package, by its name; None for what is no documentation.

    Args:
        path: Its path in the package.

    Returns:
        A function of its bytes. Manual pages (roff), changelogs, licenses, pictures, and programs have none.
    """
    return _READERS.get(PurePosixPath(path.removesuffix(".gz")).suffix)


_READERS = {".html": from_html, ".htm": from_html, ".xhtml": from_html, ".pod": from_pod, ".txt": from_text}


def fault(text: str, link_share: float, longest: int) -> str | None:
    """Why a document is dropped, or None.

    Args:
        text: The document.
        link_share: Share of its characters in links.
        longest: Characters of the longest document that is kept; 0 for any.

    Returns:
        A reason of DROPS.
    """
    if len(text) < MIN_CHARACTERS:
        return "short"
    if longest and len(text) > longest:
        return "long"
    letters = sum(map(str.isalpha, text))
    spaces = sum(map(str.isspace, text))
    if letters + spaces < MIN_LETTERS * len(text):
        return "symbols"
    if sum(character.isalpha() and not character.isascii() for character in text) > MAX_FOREIGN * letters:
        return "language"
    return "index" if link_share > MAX_LINKS else None


def table(kept: dict[str, Counter[str]], drops: dict[str, Counter[str]]) -> str:
    """What became of every package, and the totals, in lines for a terminal.

    Args:
        kept: Documents and characters by package.
        drops: What was dropped, by package and reason.

    Returns:
        The table.
    """
    head = ["package", "documents", "characters", *DROPS]
    kept = {**kept, "total": sum(kept.values(), Counter())}
    drops = {**drops, "total": sum(drops.values(), Counter())}
    lines = [
        [name, f"{count['documents']:,}", f"{count['characters']:,}", *(f"{drops[name][key]:,}" for key in DROPS)]
        for name, count in kept.items()
    ]
    widths = [max(len(line[place]) for line in [head, *lines]) for place in range(len(head))]
    return "\n".join(
        "  ".join(
            [line[0].ljust(widths[0]), *(word.rjust(width) for word, width in zip(line[1:], widths[1:], strict=True))]
        )
        for line in [head, *lines]
    )


if __name__ == "__main__":
    main()
