"""Kept answers survive what a kill leaves of a line."""

from __future__ import annotations

import pytest

from megatron_sbp.evaluation.judge_answers import Answers

YES, OPEN = {"factual": True, "relevant": False}, {"factual": None, "relevant": None}


def test_answers_are_read_back_and_those_of_others_too(tmp_path):
    file = tmp_path / "folder" / "one.answers.jsonl"
    answers = Answers(file)
    assert "a" not in answers
    answers.add("a", YES, "said\nso")
    answers.add("b", OPEN, "")
    assert answers["a"] == YES and len(file.read_text().splitlines()) == 2
    Answers(file.with_name("other.answers.jsonl")).add("c", YES, "")
    (tmp_path / "folder" / "corpus.jsonl").write_text('{"key": "d", "factual": true, "relevant": true}\n')
    again = Answers(file)
    assert again["a"] == YES and again["b"] == OPEN and again["c"] == YES and "d" not in again


@pytest.mark.parametrize("cut", range(1, 30))
def test_a_torn_line_is_passed_over_and_harms_no_other(tmp_path, cut):
    file = tmp_path / "one.answers.jsonl"
    answers = Answers(file)
    answers.add("a", YES, "first")
    answers.add("b", YES, "second")
    file.write_bytes(file.read_bytes()[:-cut])
    torn = Answers(file)
    assert "a" in torn
    assert ("b" in torn) == (cut == 1)  # the line is whole, only its end is missing
    torn.add("c", OPEN, "third")
    torn.add("d", YES, "fourth")
    assert [key in Answers(file) for key in "acd"] == [True] * 3


def test_lines_that_are_no_answers_are_passed_over(tmp_path):
    file = tmp_path / "one.answers.jsonl"
    wrong = ['{"key": "a", "factual": "yes", "relevant": true}', '{"key": "a", "factual": [], "relevant": true}']
    file.write_bytes("\n".join(["[]", "1", '{"key": "a"}', *wrong, ""]).encode() + b"\xff\xfe\x00\n")
    assert "a" not in Answers(file)


def test_answers_can_be_kept_in_memory_only():
    answers = Answers(None)
    answers.add("a", YES, "")
    assert answers["a"] == YES
