"""Rows of one file: a bad document ends the reading or is passed on, and short ones are told from usable ones."""

from __future__ import annotations

import pytest

from megatron_sbp.base.errors import InputError
from megatron_sbp.documents.one_file import is_usable, rows_of_file
from megatron_sbp.documents.reading import BadDocument, Document
from megatron_sbp.recipe import Documents

LINES = '{"text": "one"}\n{"title": "no text"}\n\n{"text": "four"}\nno JSON\n'


def settings(**more) -> Documents:
    return Documents(inputs=["x"], train=1, valid=1, test=1, **more)


def test_a_bad_document_ends_the_reading_with_file_line_and_key(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(LINES)
    rows = rows_of_file(path, settings(), lambda count: None)
    line, document = next(rows)
    assert line == 1 and isinstance(document, Document) and document.text == "one"
    with pytest.raises(InputError, match=r"a\.jsonl:2: .*'text'.*missing; there are: title"):
        next(rows)


def test_skipped_ones_are_passed_on_in_their_place(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(LINES)
    read = []
    rows = list(rows_of_file(path, settings(bad_documents="skip"), read.append))
    assert [(line, type(row)) for line, row in rows] == [
        (1, Document),
        (2, BadDocument),
        (4, Document),
        (5, BadDocument),
    ]
    assert rows[1][1].key == "text" and "malformed JSON" in rows[3][1].reason
    assert sum(read) == len(LINES)


@pytest.mark.parametrize(
    ("text", "least", "usable"),
    [("", 0, False), (" \n", 0, False), ("a", 0, True), (" ab ", 3, False), ("abc", 3, True)],
)
def test_as_much_text_as_the_recipe_requires(text, least, usable):
    assert is_usable(Document("1", text, {}), settings(min_characters=least)) is usable
