"""Rebuilds foldoc.jsonl.zst, the quick start's corpus, from Debian's package dict-foldoc.

    apt-get download dict-foldoc && python build_corpus.py --package dict-foldoc_20230119-1_all.deb
    apt-get install dict-foldoc && python build_corpus.py

The same package and the same zstandard library give the same bytes. CORPUS.md says what is changed, and the license.
"""

from __future__ import annotations

import argparse
import gzip
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError

sys.path.insert(0, str(Path(__file__).parents[1]))
from debian_packages import contents

MIN_CHARACTERS = 200
"""Shorter documents are left out: acronyms, and entries that only point to another one."""

_DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_LINK = "\x01"  # encloses the words of an external link
_CODE_INDENT = 4  # prose is indented by 3
_DEBIAN_INDENT = 6  # what Debian added to the dictionary is indented by 7, or 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--package", type=Path, help="the .deb file; without it the installed package is read")
    parser.add_argument("--dictd", type=Path, default=Path("/usr/share/dictd"), help="folder of the installed package")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("foldoc.jsonl.zst"))
    options = parser.parse_args()
    try:
        index, text = from_package(options.package) if options.package else from_folder(options.dictd)
    except (OSError, InputError) as error:
        parser.error(str(error))
    rows = list(documents(index, text))
    files.write_jsonl_zst(options.out, rows, level=19)
    characters = sum(len(row["text"]) for row in rows)
    print(f"{options.out}: {len(rows):,} documents, {characters:,} characters, {options.out.stat().st_size:,} bytes")


def from_folder(folder: Path) -> tuple[str, bytes]:
    """Index and text of the installed dictd database."""
    return (folder / "foldoc.index").read_text(encoding="utf-8"), gzip.decompress(
        (folder / "foldoc.dict.dz").read_bytes()
    )


def from_package(package: Path) -> tuple[str, bytes]:
    """Index and text out of the .deb."""
    wanted = {"foldoc.index", "foldoc.dict.dz"}
    found = {Path(path).name: data for path, data in contents(package) if Path(path).name in wanted}
    if wanted - set(found):
        raise InputError(f"has no {' and no '.join(sorted(wanted - set(found)))}", file=package)
    return found["foldoc.index"].decode(), gzip.decompress(found["foldoc.dict.dz"])


def documents(index: str, text: bytes) -> Iterator[dict[str, str]]:
    """The dictionary's entries as documents, in its own order: id, title, text.

    Args:
        index: lines of headword, offset and length (in dictd's base 64), tab-separated.
        text: the entries, one after another.
    """
    spans = sorted(
        {
            (_number(offset), _number(length))
            for word, offset, length in (line.split("\t") for line in index.splitlines())
            if not word.startswith("00-database")
        }
    )
    seen: dict[str, int] = defaultdict(int)
    for offset, length in spans:
        head, _, body = text[offset : offset + length].decode().partition("\n\n")
        title = head.split("\n")[0].strip()
        if not title or _from_debian(body):
            continue
        paragraphs = clean(body)
        document = "\n\n".join([title, *paragraphs])
        if len(document) < MIN_CHARACTERS:
            continue
        seen[title] += 1
        name = title if seen[title] == 1 else f"{title} #{seen[title]}"
        yield {"id": f"foldoc:{name}", "title": title, "text": document}


def clean(body: str) -> list[str]:
    """Paragraphs of an entry: prose on one line each, code and tables with their lines and relative indents.

    Cross references lose their braces and links keep their words. Left out are the addresses of links and of mail, the
    date of the last change, which is the last line of most entries, and the editor's questions ("[Details?]").
    """
    body = "\n".join(line.expandtabs().rstrip() for line in body.split("\n"))
    body = re.sub(r"\s*\(\d{4}-\d\d-\d\d\)\s*\Z", "\n", body)
    body = re.sub(r"\{([^{}]*)\}", lambda match: _reference(match, body), body)
    paragraphs = []
    for block in re.split(r"\n\s*\n", body):
        prose: list[str] = []
        code: list[str] = []
        for line in block.split("\n"):
            if not line.strip():
                continue
            if len(line) - len(line.lstrip()) >= _CODE_INDENT:
                paragraphs += _prose(prose)
                prose = []
                code.append(line[_CODE_INDENT - 1 :])
            else:
                paragraphs += _code(code)
                code = []
                prose.append(line.strip())
        paragraphs += _prose(prose) + _code(code)
    return paragraphs


def _reference(match: re.Match[str], body: str) -> str:
    """What a `{...}` becomes."""
    line = body[body.rfind("\n", 0, match.start()) + 1 : match.start() + 1]
    if len(line) - len(line.lstrip()) >= _CODE_INDENT:
        return match[0]  # braces of a program
    if not match[1].strip():
        return match[0]
    # {words (target)}: the words. Line breaks inside are no paragraphs.
    words = " ".join(re.sub(r"\(\S+\)\Z|\([^()]*\)\Z", "", match[1].strip()).split())
    return f"{_LINK}{words}{_LINK}" if "://" in match[1] else words


def _prose(lines: list[str]) -> list[str]:
    text = " ".join(" ".join(lines).split())
    if not re.search(r"\w", re.sub(f"{_LINK}[^{_LINK}]*{_LINK}", "", text)):
        return []  # links and nothing else
    text = re.sub(r" ?<[^<>\s]+@[^<>\s]+>", "", text.replace(_LINK, ""))
    text = re.sub(r" ([.,;:])(?= |\Z)", r"\1", text)  # where an address went
    text = re.sub(r"(?:\A| )(?:E-mail|Mailing list|FTP|WWW|Web|Home):\.(?= |\Z)", "", text).strip()
    text = re.sub(r"\A[.,;] +", "", text)
    # A question, a date, a bare label of the subject, nothing, or words of which the addresses went.
    if re.fullmatch(r"\[[^\[\]]*\?\]|\(\d{4}-\d\d-\d\d\)|<[\w ,]+>|[\W_]*|(\w[\w -]{0,30}:[\s.,]*)+", text):
        return []
    return [text]


def _code(lines: list[str]) -> list[str]:
    return ["\n".join(lines)] if lines else []


def _from_debian(body: str) -> bool:
    first = next((line for line in body.split("\n") if line.strip()), "")
    return len(first) - len(first.lstrip(" ")) >= _DEBIAN_INDENT


def _number(text: str) -> int:
    value = 0
    for character in text:
        value = value * 64 + _DIGITS.index(character)
    return value


if __name__ == "__main__":
    main()
