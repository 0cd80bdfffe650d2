"""Questions of a rehearsal: the recipe's as far as their documents are there, otherwise made-up ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from megatron_sbp.evaluation.questions import FIELDS
from megatron_sbp.rehearsal.questions import AT_MOST, write_questions


def question(group: str | None, prompt: str = "It was made in") -> str:
    fields = {"prompt": prompt, "choices": ["Lisbon", "Oslo"], "answer": "Oslo", "tag": "place"}
    return json.dumps(fields if group is None else {**fields, "group": group})


def written(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.fixture
def source(tmp_path) -> Path:
    lines = [question("Ada"), "", question("Bo", "Zo\u0308 was made in"), question(None), question("Cy")]
    (tmp_path / "source.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path / "source.jsonl"


def test_where_figures_go_by_group_only_questions_about_documents_that_are_there(tmp_path, source):
    write_questions(tmp_path / "q.jsonl", source, ["Cy", "Ada", "Dee"], grouped=True)
    assert [one["group"] for one in written(tmp_path / "q.jsonl")] == ["Ada", "Cy"]
    write_questions(tmp_path / "q.jsonl", source, ["Cy", "Ada", "Dee"], grouped=False)
    assert [one.get("group") for one in written(tmp_path / "q.jsonl")] == ["Ada", "Bo", None, "Cy"]
    assert written(tmp_path / "q.jsonl")[1]["prompt"] == "Zo\u0308 was made in"


def test_a_byte_order_mark(tmp_path, source):
    source.write_bytes(b"\xef\xbb\xbf" + source.read_bytes())
    for grouped in (True, False):
        write_questions(tmp_path / "q.jsonl", source, ["Ada"], grouped)
        assert written(tmp_path / "q.jsonl")[0]["group"] == "Ada"


def test_that_questions_are_made_up_is_told(tmp_path, source, capsys):
    write_questions(tmp_path / "q.jsonl", source, ["Ada"], grouped=True)
    assert not capsys.readouterr().err
    write_questions(tmp_path / "q.jsonl", source, ["Dee"], grouped=True)
    assert "no question in source.jsonl is about these documents" in capsys.readouterr().err


@pytest.mark.parametrize("groups", [[], ["Dee"], ["Dee", "Eli", "Dee"], [f"group {number}" for number in range(100)]])
@pytest.mark.parametrize("missing", [True, False])
def test_made_up_ones_can_be_answered(tmp_path, source, groups, missing):
    """Four different choices at most, the answer among them, and a document for each."""
    write_questions(tmp_path / "q.jsonl", None if missing else source, groups, grouped=True)
    found = written(tmp_path / "q.jsonl")
    assert len(found) == min(AT_MOST, max(len(set(groups)), 2 if not groups else 1))
    for one in found:
        assert set(one) == set(FIELDS) and one["answer"] == one["group"] and one["answer"] in one["choices"]
        assert 2 <= len(one["choices"]) == len(set(one["choices"])) <= 4
        assert not groups or one["group"] in groups
