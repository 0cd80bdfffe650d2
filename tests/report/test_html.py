"""Texts in the page are texts, whatever is in them."""

from __future__ import annotations

from html.parser import HTMLParser

from megatron_sbp.report.html import esc, figure, folded, paragraph, section, table

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


def test_no_line_of_a_sentence_begins_with_a_percent_sign():
    for markup in (
        paragraph("the 95 % interval"),
        figure("", "the 95 % interval"),
        table([], [], caption="the 95 % interval"),
    ):
        assert "the 95\u00a0% interval" in markup
    assert esc("what a document says: 95 %").endswith("95 %")


def test_pieces_hold_texts_only():
    markup = section(EVIL, EVIL, paragraph(EVIL), table([EVIL], [[EVIL, EVIL]], caption=EVIL), folded(EVIL, ""))
    page = Texts()
    page.feed(markup)
    assert "script" not in {tag for tag, _ in page.tags}
    assert {name for _, attributes in page.tags for name, _ in attributes} <= {"id", "class", "scope", "tabindex"}
    assert page.text.count("<script>alert(1)</script>") == 7
