"""Files of questions: what is read, and what is refused with file and line."""

from __future__ import annotations

import json

import pytest
from support.made_up_text import RECIPE

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.evaluation.questions import documents_by_group, question_files, read_questions
from megatron_sbp.recipe import load_recipe
from megatron_sbp.stages.run_folder import Run

GOOD = {"prompt": "Ada was born in", "choices": ["Lima", "Oslo"], "answer": "Oslo", "tag": "city", "group": "Ada"}


@pytest.fixture
def recipe(tmp_path):
    (tmp_path / "recipe.yaml").write_text(RECIPE.format(train=10, oracle=10))
    return load_recipe(
        tmp_path / "recipe.yaml",
        [
            f"run_folder={tmp_path / 'run'}",
            "documents.keep_fields=[person]",
            "evaluation.questions=questions.jsonl",
            "evaluation.question_group_field=person",
        ],
    )


def write(recipe, *rows) -> None:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (recipe.folder / "questions.jsonl").write_text("".join(line + "\n" for line in lines))


def test_questions_are_read(recipe):
    write(recipe, GOOD, "", {**GOOD, "answer": "Lima", "group": 7, "tag": None})
    first, second = read_questions(recipe)
    assert (first.line, first.prompt, first.choices, first.answer) == (1, GOOD["prompt"], ("Lima", "Oslo"), 1)
    assert (first.tag, first.group, first.chance) == ("city", "Ada", 0.5)
    assert (second.line, second.answer, second.tag, second.group) == (3, 0, None, "7")


def test_without_the_key_there_are_none(recipe):
    recipe.evaluation.questions = None
    assert read_questions(recipe) == []


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", "2: not valid JSON"),
        ("[" * 100_000, "2: not valid JSON"),
        ("[1]", "2: must be a JSON object"),
        ({**GOOD, "choice": []}, "2: 'choice': unknown field; known are prompt, choices"),
        ({**GOOD, "prompt": " "}, "2: 'prompt': must be a non-empty text"),
        ({**GOOD, "prompt": 3}, "2: 'prompt': must be a non-empty text"),
        ({**GOOD, "choices": ["Oslo"]}, "2: 'choices': must be a list of two or more"),
        ({**GOOD, "choices": "Oslo"}, "2: 'choices': must be a list of two or more"),
        ({**GOOD, "choices": ["Oslo", ""]}, "2: 'choices': must be a list of two or more"),
        ({**GOOD, "choices": ["Oslo", "Oslo"]}, "2: 'choices': 'Oslo' is among the choices twice"),
        ({**GOOD, "answer": "Rome"}, "2: 'answer': 'Rome' is not among the choices"),
        ({**GOOD, "tag": ["a"]}, "2: 'tag': must be a text or a whole number"),
        ({**GOOD, "group": None}, "2: 'group': is missing, and evaluation.question_group_field is set"),
        ({**GOOD, "prompt": "a \ud800"}, "2: prompt or choices contain a lone surrogate"),
    ],
)
def test_a_wrong_line_is_named(recipe, row, message):
    write(recipe, GOOD, row)
    with pytest.raises(InputError, match=f"questions.jsonl:{message}"):
        read_questions(recipe)


def test_missing_and_empty_files_are_errors(recipe):
    with pytest.raises(InputError, match=r"questions.jsonl: 'evaluation.questions': no such file"):
        read_questions(recipe)
    write(recipe)
    with pytest.raises(InputError, match="contains no questions"):
        read_questions(recipe)


def test_values_that_cannot_work_are_refused(recipe):
    for wrong, message in (
        ("evaluation.choice_questions=3", "must be 4 or more, not 3"),
        ("tuning.min_learning_rate=1", "must be between 0 and the peak"),
        ("documents.keep_fields=[]", "'person' is not among documents.keep_fields"),
        ("evaluation.questions=null", "is set, but evaluation.questions names no file"),
    ):
        words = ["documents.keep_fields=[person]", "evaluation.questions=q", "evaluation.question_group_field=person"]
        with pytest.raises(InputError, match=message):
            load_recipe(recipe.source, [*words, wrong])


def test_a_run_with_wrong_questions_is_refused_before_anything_runs(recipe, capsys):
    from megatron_sbp.cli import main

    write(recipe, {**GOOD, "answer": "Rome"})
    root = recipe.folder / "run"
    words = ["run", str(recipe.source), f"run_folder={root}", "evaluation.questions=questions.jsonl"]
    assert main(words) == 2
    assert "questions.jsonl:1: 'answer': 'Rome' is not among the choices" in capsys.readouterr().err
    assert not root.exists()


def test_documents_are_counted_in_d_and_a_group_in_no_split_is_an_error(recipe):
    run = Run.of(recipe)
    splits = {"train": ["Ada", "Ada", "Bo"], "oracle": ["Cy"], "valid": ["Ada"], "test": ["Bo"]}
    for split, people in splits.items():
        rows = [{"id": f"{split}-{n}", "text": "x", "person": person} for n, person in enumerate(people)]
        files.write_jsonl_zst(run.documents(split) / "00000.jsonl.zst", rows)
    shards = {split: run.document_shards(split) for split in splits}
    file = recipe.folder / "questions.jsonl"
    write(recipe, GOOD, {**GOOD, "group": "Bo"}, {**GOOD, "group": "Cy"})
    assert documents_by_group(read_questions(recipe), shards, "person", file) == {"Ada": 2, "Bo": 1, "Cy": 0}
    write(recipe, GOOD, {**GOOD, "group": "Bo"}, {**GOOD, "group": "Di"}, {**GOOD, "group": "Di"})
    with pytest.raises(InputError, match=r"questions.jsonl:3: 'group': no document of any split has 'Di' in its field"):
        documents_by_group(read_questions(recipe), shards, "person", file)


@pytest.mark.parametrize("named", ["asked", "asked/*.jsonl", "**/b*.jsonl", "asked/a.jsonl"])
def test_a_folder_or_a_pattern_names_several_files(recipe, named):
    folder = recipe.folder / "asked"
    folder.mkdir()
    for name, group in (("b", "Bo"), ("a", "Ada")):
        (folder / f"{name}.jsonl").write_text(json.dumps({**GOOD, "group": group}) + "\n")
    (folder / "README.md").write_text("not questions")
    (folder / ".hidden.jsonl").write_text("neither")
    recipe.evaluation.questions = named
    wanted = {"**/b*.jsonl": ["b"], "asked/a.jsonl": ["a"]}.get(named, ["a", "b"])
    assert [file.stem for file in question_files(recipe)] == wanted
    read = read_questions(recipe)
    assert [(one.file.stem, one.line) for one in read] == [(name, 1) for name in wanted]
    for bad in wanted:
        (folder / f"{bad}.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match=rf"{wanted[0]}\.jsonl:1: "):
        read_questions(recipe)


@pytest.mark.parametrize("named", ["empty", "empty/*.jsonl"])
def test_a_folder_without_questions_is_named(recipe, named):
    (recipe.folder / "empty").mkdir()
    recipe.evaluation.questions = named
    assert question_files(recipe) == []
    with pytest.raises(InputError, match=r"no file \*\.jsonl is there"):
        read_questions(recipe)
