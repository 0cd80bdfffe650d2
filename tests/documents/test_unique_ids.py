"""No two documents have one id."""

from __future__ import annotations

import json

import pytest

from megatron_sbp.base.errors import InputError
from megatron_sbp.documents import unique_ids
from megatron_sbp.documents.foreign import Source
from megatron_sbp.documents.unique_ids import check_unique_ids


def jsonl(path, *ids):
    path.write_text("".join(json.dumps({"text": f"{id} again", "id": id}) + "\n" for id in ids))
    return str(path)


def test_both_places_and_the_id_are_named(tmp_path):
    one = jsonl(tmp_path / "1.jsonl", "a", "b", "c", "b", "a")
    with pytest.raises(InputError) as caught:
        check_unique_ids(Source([one], id_field="id"))
    assert str(caught.value) == f"{one}:4: 'id': 'b' is also the id of line 2"
    two, three = jsonl(tmp_path / "2.jsonl", "d", 7), jsonl(tmp_path / "3.jsonl", "e", "7")
    with pytest.raises(InputError, match=r"3.jsonl:2: 'id': '7' is also the id of .*2.jsonl:2"):
        check_unique_ids(Source([two, three], id_field="id"))


def test_what_is_no_fault(tmp_path, monkeypatch):
    check_unique_ids(Source([jsonl(tmp_path / "1.jsonl", "a", "a")]))  # nobody asked for ids
    monkeypatch.setattr(unique_ids, "_digest", lambda id: 5)  # ids that are different have one digest
    check_unique_ids(Source([jsonl(tmp_path / "2.jsonl", "a", "b", "c")], id_field="id"))
