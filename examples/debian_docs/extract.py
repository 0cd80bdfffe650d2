"""Text of a documentation page: HTML, Perl's pod, and plain text become paragraphs."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html import unescape
from html.parser import HTMLParser

HEAD, TEXT, ITEM, TERM, ROW, CODE = "head", "text", "item", "term", "row", "code"

_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
_INLINE = {"a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn", "em", "font", "i"}
_INLINE |= {"ins", "kbd", "mark", "nobr", "q", "s", "samp", "small", "span", "strike", "strong", "sub", "sup", "time"}
_INLINE |= {"tt", "u", "var", "wbr", "img", "label"}
_HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6"}
_LEFT_OUT = {"script", "style", "nav", "header", "footer", "aside", "noscript", "template", "svg", "button", "form"}
_LEFT_OUT |= {"select", "iframe", "object", "textarea"}
_ENDS = {"p": {"p"}, "li": {"li"}, "dt": {"dt", "dd"}, "dd": {"dt", "dd"}}
_ENDS |= {"td": {"td", "th"}, "th": {"td", "th"}, "tr": {"td", "th", "tr"}}
_MAIN_CLASSES = {"body", "mainContent"}
_MAIN_IDS = {"content", "main-content"}
# Navigation, tables of contents, and permanent links of Sphinx, DocBook, javadoc, rustdoc, mdBook, QDoc, and Erlang.
_LEFT_OUT_CLASSES = set(
    "headerlink sphinxsidebar related contents toctree-wrapper navheader navfooter toc breadcrumb wy-breadcrumbs "
    "skip-nav sub-nav nav-list table-header table-tabs inherited-list navigationbar naviNextPrevious sidebar footer "
    "srclink rightside out-of-band anchor test-arrow tooltip information hideme sidebar-toggle title-anchors "
    "expand-collapse-items copyright colophon-footer indextable modindextable genindex-jumpbox".split()
)
# What repeats on other pages or further down: the traits that a Rust type has, javadoc's summaries.
_LEFT_OUT_IDS = set(
    "trait-implementations trait-implementations-list synthetic-implementations synthetic-implementations-list "
    "blanket-implementations blanket-implementations-list implementors synthetic-implementors field-summary "
    "constructor-summary method-summary nested-class-summary enum-constant-summary leftnav".split()
)
_UNSEEN = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufffe\uffff]")
_NAVIGATION = re.compile(r"<nav\b[^>]*>[^<]*(?:<(?!/?nav\b)[^<]*)*</nav\s*>", re.IGNORECASE)
# Links of QDoc and rustdoc to the rest of what is said.
_LINK_WORDS = re.compile(r"(?<=[.)]) (More\.\.\.|Read more)$|(?<=^- )List of all members, including inherited members$")
_BREAK = "\x0c"  # stands for <br> until white space is normalized


@dataclass
class Page:
    """What a page says.

    Attributes:
        title: Its first heading, or its title.
        blocks: Kind (heading, paragraph, ...) and text, in order.
        link_share: Share of the characters that are words of links.
    """

    title: str = ""
    blocks: list[tuple[str, str]] = field(default_factory=list)
    link_share: float = 0.0


def join(blocks: list[tuple[str, str]]) -> str:
    """One text: paragraphs with a blank line between them; items, rows, and a term with its definition without one."""
    text, before = "", ""
    for kind, words in blocks:
        close = (kind == before and kind in (ITEM, ROW, TERM)) or (before == TERM and kind == TEXT)
        text += ("\n" if close else "\n\n" if text else "") + words
        before = kind
    return text


def sections(page: Page, limit: int) -> list[Page]:
    """Divides a page into runs of its sections.

    Args:
        page: The page.
        limit: Characters; sections in sequence are put together up to it. One that is longer alone stays whole.

    Returns:
        Pages, each of whole sections. Their titles name the page and the first section.
    """
    runs: list[list[tuple[str, str]]] = []
    size = 0
    for start, stop in _spans(page.blocks):
        part = page.blocks[start:stop]
        length = sum(len(words) + 2 for _, words in part)
        if not runs or size + length > limit:
            runs.append([])
            size = 0
        runs[-1] += part
        size += length
    titles = [next((words for kind, words in run if kind == HEAD), page.title) for run in runs]
    return [
        Page(page.title if title == page.title else f"{page.title}: {title}", run, page.link_share)
        for title, run in zip(titles, runs, strict=True)
    ]


def _spans(blocks: list[tuple[str, str]]) -> list[tuple[int, int]]:
    """Where sections start and stop: headings in sequence (of a chapter and its first section) stay together."""
    starts = [
        place for place, (kind, _) in enumerate(blocks) if place == 0 or (kind == HEAD and blocks[place - 1][0] != HEAD)
    ]
    return list(zip(starts, [*starts[1:], len(blocks)], strict=True))


def from_html(raw: bytes) -> Page:
    """The main content of a page of HTML.

    Args:
        raw: Bytes of the file.

    Returns:
        The page; without blocks where there is nothing but navigation.

    Raises:
        ValueError: this is no HTML.
    """
    if raw.strip() and (b"\x00" in raw or not re.search(rb"<[!a-zA-Z]", raw)):
        raise ValueError("is no HTML")
    reader = _Reader()
    text, found = _decode(raw), 1
    while found:  # from the inside out: navigation is most of many pages, and parsing it takes most of the time
        text, found = _NAVIGATION.subn("", text)
    reader.feed(text)
    reader.close()
    return reader.page()


def from_pod(raw: bytes) -> Page:
    """A page of Perl's plain old documentation (perlpod).

    Args:
        raw: Bytes of the file.

    Returns:
        The page; its title is the line of its section NAME.
    """
    page = Page()
    lines = _decode(raw).replace("\r\n", "\n")
    is_pod, left_out, listed, items = False, "", "", []
    for block in re.split(r"\n[ \t]*\n", lines):
        block = block.strip("\n")
        command = re.match(r"=([a-z]+)(\d*)[ \t]*(.*)", block, re.DOTALL)
        if command:
            name, words = command[1], _pod_words(command[3])
            is_pod = name != "cut"
            if left_out:
                left_out = "" if name == "end" else left_out
            elif name == "begin":
                left_out = words or "begin"
            elif name == "head":
                page.blocks.append((HEAD, words))
            elif name == "over":
                items.append(listed)
                listed = ""
            elif name == "back" and items:
                listed = items.pop()
            elif name == "item":
                bullet = re.fullmatch(r"(?:\*|\d+[.)]?)\s*(.*)", words, re.DOTALL)
                listed = "- " if bullet else ""
                if bullet is None:
                    page.blocks.append((TERM, words))
                elif bullet[1]:
                    page.blocks.append((ITEM, f"- {bullet[1]}"))
                    listed = ""
        elif is_pod and not left_out and block.strip():
            if block[0] in " \t":
                code = _code(block)
                if page.blocks and page.blocks[-1][0] == CODE:
                    page.blocks[-1] = (CODE, page.blocks[-1][1] + "\n\n" + code)
                else:
                    page.blocks.append((CODE, code))
            else:
                page.blocks.append((ITEM if listed else TEXT, listed + _pod_words(block)))
                listed = ""
    page.blocks = [(kind, words) for kind, words in page.blocks if words.strip()]
    if page.blocks[:1] == [(HEAD, "NAME")] and len(page.blocks) > 1:
        page.title = page.blocks[1][1]
    elif page.blocks:
        page.title = page.blocks[0][1].split("\n")[0]
    return page


def from_text(raw: bytes) -> Page:
    """A page of plain text, with its lines as they are.

    Args:
        raw: Bytes of the file.

    Returns:
        The page; its title is its first line with a letter.
    """
    text = _code(_decode(raw).replace("\r\n", "\n"))
    title = next((line.strip() for line in text.split("\n") if re.search(r"[^\W\d_]", line)), "")
    return Page(title, [(TEXT, text)] if text else [])


def _decode(raw: bytes) -> str:
    """Text of a file: UTF-8, or what the file says, or Latin-1."""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        said = re.search(rb"(?:charset|encoding)\s*=?\s*[\"']?([\w-]+)", raw[:4096])
        for name in ([said[1].decode()] if said else []) + ["cp1252"]:
            try:
                return raw.decode(name)
            except (LookupError, UnicodeDecodeError):
                continue
        return raw.decode("latin-1")


def _words(text: str) -> str:
    """White space normalized, but for the line breaks that the page asked for."""
    lines = (" ".join(line.split()) for line in _UNSEEN.sub("", text).split(_BREAK))
    return "\n".join(line for line in lines if line)


def _code(text: str) -> str:
    """Lines as they are, without white space at their ends and without blank lines in sequence or around."""
    lines = [line.expandtabs().rstrip() for line in _UNSEEN.sub("", text).replace("\xa0", " ").split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")


_OPEN, _CLOSE = "\x01", "\x02"  # stand for < and > that are no markup
_POD_CHARACTERS = {"lt": _OPEN, "gt": _CLOSE, "verbar": "|", "sol": "/"}  # the others are named as in HTML


def _pod_words(text: str) -> str:
    """Words of a pod paragraph without its codes."""
    text = " ".join(text.split())
    text = re.sub(r"\bE<([^<>]+)>", lambda match: _pod_character(match[1]), text)
    while True:  # from the inside out
        changed = re.sub(
            r"\b([A-Z])(?:(<<+) (.*?) (>>+)(?!>)|<([^<>]*)>)", lambda match: _pod_code(match), text, count=1
        )
        if changed == text:
            return " ".join(text.replace(_OPEN, "<").replace(_CLOSE, ">").split())
        text = changed


def _pod_code(match: re.Match[str]) -> str:
    words = match[3] if match[2] else match[5]
    words = words.replace("<", _OPEN).replace(">", _CLOSE) if match[1] == "C" or not match[2] else words
    if match[1] in "XZ":
        return ""
    if match[1] == "L":
        return _pod_link(words)
    return words


def _pod_link(words: str) -> str:
    label, _, _target = words.partition("|")
    if "://" in label:
        return label
    name, _, section = label.partition("/")
    section = section.strip('"')
    if not section:
        return name.strip('"')
    return f"{section} in {name}" if name else section


def _pod_character(name: str) -> str:
    if name in _POD_CHARACTERS:
        return _POD_CHARACTERS[name]
    if re.fullmatch(r"0?x[0-9a-fA-F]+|\d+", name):
        return chr(int(name.lstrip("0"), 16) if "x" in name else int(name))
    return unescape(f"&{name};")


@dataclass
class _Table:
    cells: list[list[str]] | None = None
    joint: str = " | "


class _Reader(HTMLParser):
    """Collects blocks of a page, and which of them are in its main content."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._open: list[str] = []
        self._skip: int | None = None  # depth of the element that is left out
        self._main: int | None = None  # depth of the main content
        self._blocks: list[tuple[bool, str, str]] = []
        self._words: list[str] = []
        self._kind = TEXT
        self._listed = False
        self._pre = 0
        self._links = 0
        self._link_characters = {True: 0, False: 0}
        self._tables: list[_Table] = []
        self._title: list[str] | None = None
        self._head_title = ""

    def page(self) -> Page:
        """The page that was fed."""
        self._flush()
        main = any(inside for inside, _, _ in self._blocks)
        blocks = [(kind, words) for inside, kind, words in self._blocks if inside == main]
        characters = sum(len(words) for _, words in blocks)
        links = self._link_characters[main]
        heading = next((words for kind, words in blocks if kind == HEAD), "")
        title = (heading or self._head_title or (blocks[0][1] if blocks else "")).split("\n")[0]
        return Page(title, blocks, links / characters if characters else 0.0)

    def updatepos(self, i: int, j: int) -> int:
        """Counts no lines: they are not needed, and counting takes a tenth of the time."""
        return j

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "br":
            self._words.append("\n" if self._pre else _BREAK)
            return
        if tag in _VOID:
            return
        if tag in ("p", "li", "dt", "dd", "td", "th", "tr"):
            self._close_open(tag)
        self._open.append(tag)
        if self._skip is not None:
            return
        named = dict(attrs)
        classes = set((named.get("class") or "").split())
        if tag == "title":
            self._title = []
            return
        is_main = tag == "main" or named.get("role") == "main" or classes & _MAIN_CLASSES
        is_main = is_main or named.get("id") in _MAIN_IDS
        if is_main and tag not in ("body", "html") and self._main is None:
            self._flush()
            self._main = len(self._open)
        elif (
            tag in _LEFT_OUT
            or (classes & _LEFT_OUT_CLASSES and tag not in ("body", "html", "main"))
            or named.get("role") in ("navigation", "search", "banner", "contentinfo")
            or named.get("id") in _LEFT_OUT_IDS
        ):
            if tag not in _INLINE:
                self._flush()
            self._skip = len(self._open)
            return
        if tag == "a" and named.get("href"):
            self._links += 1
        elif tag == "pre":
            self._flush()
            self._pre += 1
            self._kind = CODE
        elif tag not in _INLINE and not self._pre:
            self._flush()
            self._start_block(tag, classes)

    def _start_block(self, tag: str, classes: set[str | None] | set[str]) -> None:
        if tag in _HEADINGS:
            self._kind = HEAD
            self._listed = False  # a section in a list, as javadoc has them
        elif tag == "dt":
            self._kind = TERM
        elif tag == "li":
            self._listed = True
        elif tag == "table":
            self._tables.append(_Table())
        elif tag == "tr" and self._tables:
            self._row()
            self._tables[-1].cells = []
            self._tables[-1].joint = " | "
        elif tag in ("td", "th") and self._tables and self._tables[-1].cells is not None:
            self._tables[-1].cells.append([])
            if any(str(name).startswith("memItem") for name in classes):  # QDoc: a type and a name
                self._tables[-1].joint = " "

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "br":
            self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self._open:
            return
        while self._open:
            last = self._open[-1]
            self._end(last)
            if last == tag:
                return

    def _close_open(self, tag: str) -> None:
        """Ends an element that a page may leave open, at the start of the next one of its kind."""
        place = len(self._open)
        for depth in range(len(self._open) - 1, -1, -1):
            if self._open[depth] in _ENDS[tag]:
                place = depth
            elif self._open[depth] not in _INLINE and self._open[depth] != "p":
                break
        while len(self._open) > place:
            self._end(self._open[-1])

    def _end(self, tag: str) -> None:
        depth = len(self._open)
        self._open.pop()
        if self._skip is not None:
            if self._skip == depth:
                self._skip = None
            return
        if tag == "title" and self._title is not None:
            self._head_title = self._head_title or _words("".join(self._title))
            self._title = None
        elif tag == "a":
            self._links = max(self._links - 1, 0)
        elif tag == "pre":
            self._flush()
            self._pre -= 1
        elif tag not in _INLINE and not self._pre:
            self._flush()
            if tag == "tr":
                self._row()
            elif tag == "table" and self._tables:
                self._row()
                self._tables.pop()
            elif tag == "li":
                self._listed = False
        if self._main == depth:
            self._flush()
            self._main = None

    def handle_data(self, data: str) -> None:
        if self._skip is not None:
            return
        if self._title is not None:
            self._title.append(data)
            return
        self._words.append(data if self._pre else data.replace(_BREAK, " "))
        if self._links:
            self._link_characters[self._main is not None] += len(data.strip())

    def _flush(self) -> None:
        words = "".join(self._words)
        self._words.clear()
        kind, self._kind = self._kind, TEXT
        words = _code(words) if kind == CODE else _words(words)
        if not words.strip():
            if kind in (HEAD, TERM, CODE):  # an element around the words of this one
                self._kind = kind
            return
        if self._tables and self._tables[-1].cells:
            self._tables[-1].cells[-1].append(words)
        elif self._listed and kind == TEXT:
            self._add(ITEM, f"- {words}")
            self._listed = False
        else:
            self._add(kind, words)

    def _row(self) -> None:
        """Ends a row of a table: cells beside each other, or the lines of its only one."""
        cells = [cell for cell in self._tables[-1].cells or [] if cell] if self._tables else []
        if self._tables:
            self._tables[-1].cells = None
        if not cells:
            return
        if len(cells) == 1:
            self._add(TEXT, "\n".join(cells[0]))
        else:
            self._add(ROW, self._tables[-1].joint.join(" ".join(" ".join(cell).split()) for cell in cells))

    def _add(self, kind: str, words: str) -> None:
        words = _LINK_WORDS.sub("", words)
        if words in ("", "-", "- "):
            return
        self._blocks.append((self._main is not None, kind, words))
