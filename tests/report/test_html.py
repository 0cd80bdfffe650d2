"""Texts in the page are texts, whatever is in them."""

from __future__ import annotations

from html.parser import HTMLParser

from megatron_sbp.report.html import esc, folded, paragraph, section, table

EVIL = "</pre><script>alert(1)</script>\" onload='x' &amp; \x1b[31m\x00\x07\u202e\ud800 \t\n é"


class Texts(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text = [], ""

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, attributes))

    def handle_data(self, data):
        self.text += data


def test_escapes_and_control_characters():
    escaped = esc(EVIL)
    assert not set('<>"\x1b\x00\x07\u202e\ud800') & set(escaped) and r"\x1b[31m\x00\x07\u202e\ud800" in escaped
    assert escaped.endswith("\t\n é")
    escaped.encode()


def test_pieces_hold_texts_only():
    markup = section(EVIL, EVIL, paragraph(EVIL), table([EVIL], [[EVIL, EVIL]], caption=EVIL), folded(EVIL, ""))
    page = Texts()
    page.feed(markup)
    assert "script" not in {tag for tag, _ in page.tags}
    assert {name for _, attributes in page.tags for name, _ in attributes} <= {"id", "class", "scope", "tabindex"}
    assert page.text.count("<script>alert(1)</script>") == 7
