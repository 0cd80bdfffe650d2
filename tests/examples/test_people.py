"""The made-up people: the same bytes every time, what a biography says, and the checker that reads it back."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PEOPLE = Path(__file__).parents[2] / "examples" / "people"


def load(name: str):
    sys.path.insert(0, str(PEOPLE))
    try:
        spec = importlib.util.spec_from_file_location(name, PEOPLE / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(PEOPLE))
    return module


world, make_world, check_facts = load("world"), load("make_world"), load("check_facts")


def rows(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_attributes_are_well_formed():
    for names in (world.FIRST, world.LAST):
        assert len(set(names)) == len(names) and all(re.fullmatch(r"[A-Z][a-z]+", name) for name in names)
    for attribute in world.ATTRIBUTES:
        assert len(attribute.wordings) == len(set(attribute.wordings)) >= 5
        assert len(attribute.values) == len(set(attribute.values)) == 20
        assert all(re.fullmatch(r"\w+", value) for value in attribute.values)
        # What is asked: the name in front, the value at the end.
        assert attribute.wordings[0].startswith("{name} ") and attribute.wordings[0].endswith(" {value}.")
        for wording in attribute.wordings:
            assert wording[0].isupper() or wording[0] == "{"
            assert wording.count("{name}") == wording.count("{value}") == 1 and wording.endswith(".")
            if wording.startswith("{value}"):
                assert all(value[0].isupper() for value in attribute.values)
            if " a {value}" in wording:
                assert not any(value[0] in "aeiou" for value in attribute.values)


def test_a_world_is_made_twice_to_the_byte(tmp_path):
    for name in ("one", "other"):
        command = [sys.executable, PEOPLE / "make_world.py", tmp_path / name, "--people", "30", "--documents", "200"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert "200 documents, 90 questions, 30 people" in done.stdout
    for file in ("corpus.jsonl", "questions.jsonl", "people.jsonl"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "other" / file).read_bytes()
    make_world.make(tmp_path / "seed", 30, 200, 3, 2)
    assert (tmp_path / "seed" / "corpus.jsonl").read_bytes() != (tmp_path / "one" / "corpus.jsonl").read_bytes()


def test_documents_say_the_truth_in_every_order_and_wording(tmp_path):
    make_world.make(tmp_path, 20, 3000, 3, 1)
    truth = check_facts.Truth(rows(tmp_path / "people.jsonl"))
    corpus = rows(tmp_path / "corpus.jsonl")
    assert len({row["text"] for row in corpus}) == len({row["id"] for row in corpus}) == 3000
    orders, wordings, people = set(), set(), set()
    for row in corpus:
        parsed = [check_facts.parse(sentence) for sentence in check_facts.sentences(row["text"])]
        assert all(statement.person == row["person"] and truth.is_true(statement) for statement in parsed)
        orders.add(tuple(statement.attribute for statement in parsed))
        wordings |= {(statement.attribute, statement.wording) for statement in parsed}
        people.add(row["person"])
    assert len(orders) == 6 and len(wordings) == 18 and len(people) == 20


def test_questions_ask_for_every_fact(tmp_path):
    make_world.make(tmp_path, 20, 100, 4, 1)
    facts = {row["person"]: row for row in rows(tmp_path / "people.jsonl")}
    asked = rows(tmp_path / "questions.jsonl")
    assert len(asked) == 80
    for row in asked:
        assert row["answer"] == facts[row["group"]][row["tag"]] and row["answer"] in row["choices"]
        statement = check_facts.parse(f"{row['prompt']} {row['answer']}.")
        assert (statement.person, statement.attribute, statement.value) == (row["group"], row["tag"], row["answer"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--people", "9999"], "people must be between 1 and 9216, not 9999"),
        (["--attributes", "7"], "attributes must be between 1 and 6, not 7"),
        (["--people", "2", "--attributes", "1", "--documents", "7"], "more than half of the 12 possible ones"),
    ],
)
def test_a_world_that_cannot_be_is_refused(tmp_path, arguments, message):
    command = [sys.executable, PEOPLE / "make_world.py", tmp_path / "new", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and message in done.stderr


def test_the_checker_marks_what_is_true_false_and_malformed():
    ada = {"person": "Ada Horn", "birthplace": "Oslo", "pet": "cat"}
    truth = check_facts.Truth([ada, {"person": "Ida Roth", "birthplace": "Rome", "pet": "hen"}])
    seed = "Ada Horn was born in Oslo. Ada Horn keeps a cat."
    tally = check_facts.Tally(truth, {seed})
    tally.add("Oslo is where Ada Horn was born. The pet of Ada Horn is a cat.", "Ada Horn", seed)
    tally.add("Ada Horn was born in Rome. Ada Horn keeps a cat", "Ada Horn", seed)
    tally.add("Ida Roth was born in Rome. Ada Horn lives with a cat.", "Ada Horn", seed)
    tally.add(seed, "Ada Horn", seed)
    found = tally.figures()
    assert (found["documents"], found["sentences"]) == (4, 8)
    assert found["about_the_seeds_person"] == found["all_facts_once"] == 0.75
    assert found["copies_of_d"] == 0.25
    assert found["malformed"] == 1 / 8  # the sentence without its period
    assert found["true"] == 6 / 8 and found["true_about_the_seeds_person"] == 5 / 8
    assert found["wordings_of_the_seed"] == 4 / 7  # "was born in" of another person, too
    assert check_facts.parse("Ada Horn Roth was born in Oslo.") is None
    assert not truth.is_true(check_facts.parse("Max Muster was born in Oslo."))


def test_a_text_without_a_seed_document_is_counted_too():
    """Those that the baseline writes by itself."""
    tally = check_facts.Tally(check_facts.Truth([{"person": "Ada Horn", "birthplace": "Oslo", "pet": "cat"}]), set())
    tally.add("Ada Horn was born in Oslo. Ada Horn keeps a hen.", None, None)
    found = tally.figures()
    assert (found["documents"], found["sentences"], found["true"]) == (1, 2, 0.5)
    assert found["all_facts_once"] == 1.0
    for of_a_seed in ("about_the_seeds_person", "true_about_the_seeds_person", "wordings_of_the_seed"):
        assert found[of_a_seed] is None
    tally.add("Nonsense.", None, None)
    assert tally.figures()["all_facts_once"] == 0.5 and tally.figures()["malformed"] == pytest.approx(1 / 3)


def test_the_judge_knows_the_truth(tmp_path, monkeypatch):
    make_world.make(tmp_path, 20, 200, 3, 1)
    truth = rows(tmp_path / "people.jsonl")
    monkeypatch.setattr(check_facts, "_world", lambda: check_facts.Truth(truth))
    one, *_, other = rows(tmp_path / "corpus.jsonl")
    assert one["person"] != other["person"]
    related = next(row for row in rows(tmp_path / "corpus.jsonl")[1:] if row["person"] == one["person"])
    texts = [
        related["text"],
        other["text"],
        "Nothing that was ever said.",
        one["text"].replace(one["person"], "Max Muster"),
    ]
    said = check_facts.judge([{"seed": one["text"], "text": text, "row": {}} for text in texts])
    assert [found["factual"] for found in said] == [True, True, False, False]
    assert [found["relevant"] for found in said] == [True, False, False, False]
    assert check_facts.judge([{"seed": None, "text": one["text"], "row": {}}]) == [{"factual": True, "relevant": None}]


def test_every_biography_is_read_back():
    made = world.World(40, 6, 3)
    truth = check_facts.Truth({"person": person.name, **person.facts} for person in made.people)
    random = np.random.default_rng(1)
    tally = check_facts.Tally(truth, set())
    for person in made.people:
        text = made.biography(person, random)
        tally.add(text, person.name, text)
    found = tally.figures()
    assert found["true"] == found["about_the_seeds_person"] == found["wordings_of_the_seed"] == 1.0
    assert found["malformed"] == 0.0


def test_pairs_are_measured_against_the_same_person():
    found = check_facts.pair_figures(["a", "a", "b", "b", "c"], [0, 1, 2, 4], [1, 0, 4, 2])
    assert found == {"pairs": 4, "precision": 0.5, "recall": 0.5}


@pytest.mark.parametrize(("missing", "told"), [("people", "make_world.py writes it"), ("run", "no such run folder")])
def test_facts_without_a_world_or_a_run_are_one_line(missing, told, tmp_path, monkeypatch, capsys):
    (tmp_path / ("run" if missing == "people" else "people")).touch()
    monkeypatch.setattr(sys, "argv", ["check_facts", f"{tmp_path}/run", "--people", f"{tmp_path}/people"])
    with pytest.raises(SystemExit) as left:
        check_facts.main()
    assert left.value.code == 2 and told in capsys.readouterr().err
