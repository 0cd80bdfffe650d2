"""The corpus of Debian's documentation: text of pages, what is dropped, the same bytes every time, and errors."""

from __future__ import annotations

import gzip
import io
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import zstandard

from megatron_sbp.base import files

EXAMPLES = Path(__file__).parents[2] / "examples"
PROGRAM = EXAMPLES / "debian_docs" / "build_corpus.py"
SENTENCE = "The reader of this page learns what the function does and when to call it. "

sys.path.insert(0, str(EXAMPLES / "debian_docs"))
try:
    import extract
finally:
    sys.path.pop(0)


def tar(members: dict[str, bytes], compression: str) -> bytes:
    """A tar archive, compressed with gz, xz, or zst."""
    archive = io.BytesIO()
    mode = "w" if compression == "zst" else f"w:{compression}"
    with tarfile.open(fileobj=archive, mode=mode) as out:
        for name, data in members.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(data)
            out.addfile(member, io.BytesIO(data))
    raw = archive.getvalue()
    return zstandard.ZstdCompressor().compress(raw) if compression == "zst" else raw


def deb(folder: Path, name: str, members: dict[str, bytes], compression: str = "xz") -> Path:
    """A Debian package with these files."""
    control = tar({"control": f"Package: {name}\nVersion: 1.0-1\nDescription: x\n more\n".encode()}, compression)
    raw = b"!<arch>\n"
    for part, data in (
        ("debian-binary", b"2.0"),  # of odd length
        (f"control.tar.{compression}", control),
        (f"data.tar.{compression}", tar(members, compression)),
    ):
        raw += part.encode().ljust(16) + b"0".ljust(12) + b"0".ljust(6) + b"0".ljust(6) + b"100644".ljust(8)
        raw += str(len(data)).encode().ljust(10) + b"`\n" + data + b"\n" * (len(data) % 2)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}_1.0-1_all.deb"
    path.write_bytes(raw)
    return path


def build(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(PROGRAM), *map(str, words)], capture_output=True, text=True, check=False)


def html(body: str, title: str = "T") -> bytes:
    head = f"<head><title>{title}</title><style>p {{}}</style></head>"
    return f"<!DOCTYPE html><html>{head}<body>{body}</body></html>".encode()


PAGE = """
<header><a href="/">Home</a></header><nav>Next | Previous</nav><div class="navheader"><p>Prev</p></div>
<div role="main">
 <h1>sched &mdash; Events<a class="headerlink" href="#x">&para;</a></h1>
 <p>First   words,&nbsp;<em>with</em>
  <a href="y">a link</a>.<script>var x = "<p>no</p>";</script>
 <p>Left open.
 <pre>if x:\n\treturn  &lt;1&gt;\n\n\n\n</pre>
 <ul><li>one<li><p>two</p></ul>
 <dl><dt>run()<dd>Runs it.</dl>
 <table><tr><th>name<th>value</tr><tr><td><p>a</p></td><td>1<br>2</td></tr></table>
 <div class="sphinxsidebar"><p>Contents</p></div>
</div>
<footer>Copyright</footer>
"""

TEXT = """sched — Events

First words, with a link.

Left open.

if x:
        return  <1>

- one
- two

run()
Runs it.

name | value
a | 1 2"""


def test_the_main_content_of_a_page():
    page = extract.from_html(html(PAGE))
    assert page.title == "sched — Events"
    assert extract.join(page.blocks) == TEXT
    assert 0 < page.link_share < 0.2


def test_a_page_without_main_content_keeps_its_body():
    page = extract.from_html(html("<div class='navfooter'>Next</div><p>All &eacute; of it.</p>", "The title"))
    assert (page.title, extract.join(page.blocks)) == ("The title", "All é of it.")


@pytest.mark.parametrize("said", ["iso-8859-1", "no-such-charset"])
def test_a_page_in_another_encoding(said):
    raw = f'<html><head><meta charset="{said}"></head><body><p>café</p></body></html>'.encode("latin-1")
    assert extract.join(extract.from_html(raw).blocks) == "café"


@pytest.mark.parametrize("raw", [b"plain words", b"\x7fELF\x00<p>"])
def test_no_html(raw):
    with pytest.raises(ValueError, match="is no HTML"):
        extract.from_html(raw)


def test_pod():
    pod = b"""#!/usr/bin/perl
=encoding utf8

=head1 NAME

perlx - a B<page> of I<pod>

=head1 DESCRIPTION

See L<perlop/"Quote Operators">, L<the site|http://example.org/>, C<< $x->{y} >> and C<a E<lt> b>.X<index word>

    my $x = <STDIN>;

    print $x;

=over 4

=item *

a bullet

=item name

its meaning

=back

=begin html

<b>left out</b>

=end html

=cut

no_pod();
"""
    page = extract.from_pod(pod)
    assert page.title == "perlx - a page of pod"
    assert extract.join(page.blocks) == (
        "NAME\n\nperlx - a page of pod\n\nDESCRIPTION\n\n"
        "See Quote Operators in perlop, the site, $x->{y} and a < b.\n\n"
        "    my $x = <STDIN>;\n\n    print $x;\n\n- a bullet\n\nname\nits meaning"
    )


def test_sections_hold_the_whole_page():
    blocks = [("head", "Page"), ("head", "First"), ("text", "a" * 50), ("head", "Second"), ("text", "b" * 50)]
    blocks += [("head", "Third"), ("text", "c" * 200)]
    parts = extract.sections(extract.Page("Page", blocks), 130)
    assert [part.title for part in parts] == ["Page", "Page: Third"]
    assert [block for part in parts for block in part.blocks] == blocks


@pytest.fixture
def debs(tmp_path) -> Path:
    folder = tmp_path / "debs"
    links = "".join(f'<li><a href="{n}">the name of page {n}</a></li>' for n in range(40))
    first = {
        "usr/share/doc/one/html/b.html": html(f"<h1>B</h1><p>{SENTENCE * 3}</p>"),
        "usr/share/doc/one/html/a.html": html(f"<h1>A</h1><p>{SENTENCE * 4}</p>"),
        "usr/share/doc/one/html/short.html": html("<p>Short.</p>"),
        "usr/share/doc/one/html/empty.html": b"",
        "usr/share/doc/one/html/numbers.html": html(f"<p>{'12345 67890 ' * 40}</p>"),
        "usr/share/doc/one/html/russian.html": html(f"<p>{'Это другой язык. ' * 20}</p>"),
        "usr/share/doc/one/html/links.html": html(f"<ul>{links}</ul>"),
        "usr/share/doc/one/html/genindex.html": html(f"<p>{SENTENCE * 3}</p>"),
        "usr/share/doc/one/html/_sources/a.txt": SENTENCE.encode() * 5,
        "usr/share/doc/one/picture.png": b"\x89PNG\x00",
        "usr/share/doc/one/changelog.gz": b"not even gzip",
    }
    second = {
        # The same words in other lines.
        "usr/share/doc/two/copy.html": html(f"<h1>B</h1>\n<div>{SENTENCE.replace(' ', chr(10)) * 3}</div>"),
        "usr/share/doc/two/notes.txt.gz": gzip.compress(
            f"\nNotes\n=====\n\n{SENTENCE}\n\n\n\n{SENTENCE * 3}\n".encode()
        ),
        "usr/share/doc/two/long.html": html(
            "<h1>Long</h1>" + "".join(f"<h2>Part {n}</h2><p>{SENTENCE * 20}{n}</p>" for n in (1, 2, 3, 4))
        ),
    }
    deb(folder, "two", second, "zst")
    deb(folder, "one", first, "gz")
    return folder


def test_building(debs, tmp_path):
    out = tmp_path / "corpus.jsonl.zst"
    done = build("--packages", "two", "one", "--debs", debs, "--out", out)
    assert done.returncode == 0, done.stderr
    rows = list(files.read_jsonl_zst(out))
    assert [list(row) for row in rows] == [["id", "package", "title", "text"]] * 5
    assert [(row["id"], row["package"], row["title"]) for row in rows] == [
        ("one:usr/share/doc/one/html/a.html", "one", "A"),
        ("one:usr/share/doc/one/html/b.html", "one", "B"),
        ("two:usr/share/doc/two/long.html#1", "two", "Long"),
        ("two:usr/share/doc/two/long.html#2", "two", "Long: Part 3"),
        ("two:usr/share/doc/two/notes.txt.gz", "two", "Notes"),
    ]
    assert rows[1]["text"] == "B\n\n" + (SENTENCE * 3).strip()
    assert rows[4]["text"].startswith("Notes\n=====\n\nThe reader") and "\n\n\n" not in rows[4]["text"]
    lines = [line.split("  ") for line in done.stdout.splitlines()]
    cells = {line[0]: [cell.strip() for cell in line[1:] if cell.strip()] for line in lines}
    assert cells["package"] == [
        "documents", "characters", "left out", "short", "long", "symbols", "language", "index", "duplicate",
    ]  # fmt: skip
    assert [cells["one 1.0-1"][place] for place in (0, 2, 3, 4, 5, 6, 7, 8)] == [*"21201120"]
    assert [cells["two 1.0-1"][place] for place in (0, 2, 3, 4, 5, 6, 7, 8)] == [*"30000001"]
    assert cells["total"][:2] == ["5", f"{sum(len(row['text']) for row in rows):,}"]


def test_the_same_packages_give_the_same_bytes(debs, tmp_path):
    names = tmp_path / "names"
    names.write_text("# packages\ntwo\none  # first by name\n\none\n")
    first, second = tmp_path / "1.zst", tmp_path / "2.zst"
    assert build("--packages", "one", "two", "--debs", debs, "--out", first).returncode == 0
    assert build("--packages", names, "--debs", debs, "--out", second).returncode == 0
    assert first.read_bytes() == second.read_bytes()


def test_whole_pages(debs, tmp_path):
    out = tmp_path / "corpus.jsonl.zst"
    assert build("--packages", "two", "--debs", debs, "--out", out, "--split", 0).returncode == 0
    assert all("#" not in row["id"] for row in files.read_jsonl_zst(out))


def test_long_documents_are_left_out(debs, tmp_path):
    every, short = tmp_path / "every.zst", tmp_path / "short.zst"
    assert build("--packages", "two", "--debs", debs, "--out", every).returncode == 0
    done = build("--packages", "two", "--debs", debs, "--out", short, "--longest", 1000)
    assert done.returncode == 0, done.stderr
    rows = list(files.read_jsonl_zst(every))
    assert list(files.read_jsonl_zst(short)) == [row for row in rows if len(row["text"]) <= 1000] != rows


def refused(debs: Path, out: Path, *packages: str) -> str:
    """The message of a build that fails; nothing is left."""
    done = build("--packages", *packages, "--debs", debs, "--out", out)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert not list(out.parent.glob(f"*{out.name}*")) and not list(out.parent.glob(".*partial*"))
    return done.stderr


def test_errors_name_the_file(debs, tmp_path):
    out = tmp_path / "out" / "corpus.jsonl.zst"
    out.parent.mkdir()
    assert "has no three_*.deb; run apt-get download three there" in refused(debs, out, "one", "three")
    assert "'Three!' is no name" in refused(debs, out, "Three!")

    page = "usr/share/doc/bad/page.html"
    deb(debs, "bad", {page: b"no markup at all"})
    message = refused(debs, out, "one", "bad")
    assert "bad_1.0-1_all.deb" in message and f"{page}: is no HTML" in message

    whole = deb(debs, "cut", {"usr/share/doc/cut/page.html": html(PAGE)})
    whole.write_bytes(whole.read_bytes()[:-200])
    message = refused(debs, out, "cut")
    assert "cut_1.0-1_all.deb" in message and "cut off" in message

    (debs / "no_1.0-1_all.deb").write_bytes(b"nothing")
    assert "no_1.0-1_all.deb: is no Debian package" in refused(debs, out, "no")

    (debs / "one_2.0-1_all.deb").write_bytes(b"")
    assert "has several of one" in refused(debs, out, "one")


@pytest.mark.parametrize("compression", ["gz", "xz", "zst"])
def test_damaged_archives(tmp_path, compression):
    package = deb(tmp_path, "bad", {"usr/share/doc/bad/page.html": html(PAGE * 50)}, compression)
    raw = bytearray(package.read_bytes())
    data = raw.index(b"data.tar") + 60
    raw[data + 30 : data + 60] = b"\xff" * 30
    package.write_bytes(raw)
    assert "bad_1.0-1_all.deb: is damaged: data.tar" in refused(tmp_path, tmp_path / "out.zst", "bad")
