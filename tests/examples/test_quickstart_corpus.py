from __future__ import annotations

import gzip
import importlib.util
import io
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from megatron_sbp.base import files

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart"


@pytest.fixture(scope="module")
def program():
    spec = importlib.util.spec_from_file_location("build_corpus", QUICKSTART / "build_corpus.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def corpus() -> list[dict]:
    return list(files.read_jsonl_zst(QUICKSTART / "foldoc.jsonl.zst"))


def test_the_corpus_is_what_its_page_says(corpus):
    page = (QUICKSTART / "CORPUS.md").read_text()
    assert f"{len(corpus):,} documents, {sum(len(row['text']) for row in corpus):,} characters" in page
    assert "Denis Howe" in page
    assert "Version 1.3" in (QUICKSTART / "LICENSE.GFDL").read_text()
    assert len({row["id"] for row in corpus}) == len({row["text"] for row in corpus}) == len(corpus)
    for row in corpus:
        assert list(row) == ["id", "title", "text"]
        assert len(row["text"]) >= 200
        assert row["text"].startswith(row["title"] + "\n\n")


def test_the_text_is_prose_without_markup(corpus):
    texts = [row["text"] for row in corpus]
    # Braces occur in programs and sets, and in a handful of the dictionary's own slips.
    assert sum(bool(re.search(r"^\S.*[{}]", text, re.MULTILINE)) for text in texts) < 40
    assert not any("\n\n\n" in text or text != text.strip() or "\t" in text or "\x01" in text for text in texts)
    assert not any(re.search(r"\n\(\d{4}-\d\d-\d\d\)$", text) for text in texts)
    paragraphs = [paragraph for text in texts for paragraph in text.split("\n\n")]
    assert sum("\n" in paragraph for paragraph in paragraphs) / len(paragraphs) < 0.05  # only code has lines


BODY = """   <language> (FL) A small {functional
   language}, see {the paper
   (http://example.org/paper)}.  By A. Author
   <author@example.org>.  It says:

    let f = {x}
    \tin f

   and so on.

   {Home (http://example.org/)}.

   [Details?]

   [{Jargon File}]

   (1999-12-31)

"""

CLEAN = [
    "<language> (FL) A small functional language, see the paper. By A. Author. It says:",
    " let f = {x}\n     in f",
    "and so on.",
    "[Jargon File]",
]


def test_cleaning(program):
    assert program.clean(BODY) == CLEAN


def number(value: int) -> str:
    text = ""
    while True:
        text = program_digits[value % 64] + text
        value //= 64
        if not value:
            return text


program_digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


@pytest.fixture
def package(tmp_path) -> Path:
    """A Debian package with a dictionary of five entries in it, of which two are documents."""
    long = "   " + "A definition that is long enough. " * 8 + "\n\n"
    entries = [
        ("00-database-info", "00-database-info\n   " + "x" * 300),
        ("First", f"First\nother name\n\n{BODY}{long}"),
        ("other name", None),  # points to the same entry
        ("Short", "Short\n\n   Too short.\n\n"),
        ("Debian's", f"Debian's\n\n    {long}"),
        ("Second", f"Second\n\n{long}"),
    ]
    text, lines, span = b"", [], (0, 0)
    for word, entry in entries:
        if entry is not None:
            span = (len(text), len(entry.encode()))
            text += entry.encode()
        lines.append(f"{word}\t{number(span[0])}\t{number(span[1])}\n")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:xz") as tar:
        for name, data in (("foldoc.index", "".join(lines).encode()), ("foldoc.dict.dz", gzip.compress(text))):
            member = tarfile.TarInfo(f"./usr/share/dictd/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    deb = b"!<arch>\n"
    for name, data in ((b"debian-binary", b"2.0"), (b"data.tar.xz", archive.getvalue())):
        deb += name.ljust(16) + b"0".ljust(12) + b"0".ljust(6) + b"0".ljust(6) + b"100644".ljust(8)
        deb += str(len(data)).encode().ljust(10) + b"`\n" + data + b"\n" * (len(data) % 2)
    path = tmp_path / "dict-foldoc.deb"
    path.write_bytes(deb)
    return path


def test_building_from_a_package(package, tmp_path):
    out = tmp_path / "out.jsonl.zst"
    command = [sys.executable, str(QUICKSTART / "build_corpus.py"), "--out", str(out), "--package", str(package)]
    subprocess.run(command, check=True, capture_output=True)
    rows = list(files.read_jsonl_zst(out))
    assert [(row["id"], row["title"]) for row in rows] == [("foldoc:First", "First"), ("foldoc:Second", "Second")]
    assert rows[0]["text"].startswith("First\n\n" + CLEAN[0])
    before = out.read_bytes()
    subprocess.run(command, check=True, capture_output=True)
    assert out.read_bytes() == before


def test_no_package(tmp_path):
    (tmp_path / "x.deb").write_bytes(b"nothing")
    for words in (["--package", tmp_path / "x.deb"], ["--package", tmp_path / "y.deb"], ["--dictd", tmp_path]):
        command = [sys.executable, str(QUICKSTART / "build_corpus.py"), *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
