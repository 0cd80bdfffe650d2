"""The user's questions: files of cloze prompts with choices, for closed-book recall.

JSON lines, plain or compressed as documents are:

    {"prompt": "Ada Brandt was born in", "choices": ["Lisbon", "Oslo"], "answer": "Oslo",
     "tag": "birthplace", "group": "Ada Brandt"}     (on one line)

`tag` (optional) divides the figures by kind of question. `group` (optional) names what a question is about: questions
of one group are not independent, which the standard error respects, and with `evaluation.question_group_field` the
figures are divided by the number of documents in D whose field of that name holds the group.
"""

from __future__ import annotations

import glob
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.untyped import JsonValue
from megatron_sbp.documents.lines import read_lines
from megatron_sbp.recipe import Recipe

FIELDS = ("prompt", "choices", "answer", "tag", "group")


@dataclass(frozen=True)
class ClozeQuestion:
    """One line of the file.

    Attributes:
        line: its number, from 1.
        prompt: what the model reads.
        choices: how it may continue, after a space.
        answer: place of the true one among the choices.
        tag: kind of question, or None.
        group: what it is about, or None.
        file: its source; None if it is not from a file.
    """

    line: int
    prompt: str
    choices: tuple[str, ...]
    answer: int
    tag: str | None
    group: str | None
    file: Path | None = None

    @property
    def chance(self) -> float:
        """Expected credit of a guess."""
        return 1 / len(self.choices)


def question_file(recipe: Recipe) -> Path | None:
    """The file, folder, or pattern that `evaluation.questions` names; None without questions."""
    name = recipe.evaluation.questions
    return None if name is None else recipe.folder / files.home_expanded(name)


def question_files(recipe: Recipe) -> list[Path]:
    """The files that `evaluation.questions` names, in the order of their names; a file that is missing is among them.

    Of a folder those are its files *.jsonl and *.jsonl.SUFFIX, of a pattern the files that match it.
    """
    named = question_file(recipe)
    if named is None:
        return []
    if named.is_dir():
        matching = named.glob("*.jsonl*")
    elif not named.exists() and glob.has_magic(str(named)):
        whole = named.absolute()
        matching = Path(whole.anchor).glob(str(whole.relative_to(whole.anchor)))
    else:
        return [named]
    return sorted(file for file in matching if file.is_file() and not file.name.startswith("."))


def read_questions(recipe: Recipe) -> list[ClozeQuestion]:
    """Reads and checks the questions of a recipe; none when it names no file.

    Raises:
        InputError: the file is missing or empty, no file is in the folder, or none matches the pattern; a line is not a
            JSON object, lacks a field, has an unknown one, one of a wrong type, fewer than two choices, the same choice
            twice, an answer outside its choices, or no group while `evaluation.question_group_field` is set. Names file
            and line.
    """
    named, found = question_file(recipe), []
    if named is None:
        return []
    several = question_files(recipe)
    if not several:
        raise InputError("no file *.jsonl is there", file=named, key="evaluation.questions")
    grouped = recipe.evaluation.question_group_field is not None
    for file in several:
        if not file.is_file():
            raise InputError("no such file", file=file, key="evaluation.questions")
        read = [_question(file, number, text, grouped) for number, text in _lines(file)]
        if not read:
            raise InputError("contains no questions", file=file, key="evaluation.questions")
        found += read
    return found


def _lines(file: Path) -> Iterable[tuple[int, bytes]]:
    for number, text in enumerate(read_lines(file), 1):
        if text.strip():
            yield number, text


def _question(file: Path, line: int, text: bytes, grouped: bool) -> ClozeQuestion:
    def fail(message: str, key: str | None = None) -> InputError:
        return InputError(message, file=file, line=line, key=key)

    try:
        row: JsonValue = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise fail(f"not valid JSON ({error})") from error
    if not isinstance(row, dict):
        raise fail("must be a JSON object")
    for key in row:
        if key not in FIELDS:
            raise fail(f"unknown field; known are {', '.join(FIELDS)}", key)
    prompt, choices, answer = row.get("prompt"), row.get("choices"), row.get("answer")
    if not isinstance(prompt, str) or not prompt.strip():
        raise fail("must be a non-empty text", "prompt")
    if not isinstance(choices, list) or len(choices) < 2 or not all(isinstance(c, str) and c.strip() for c in choices):
        raise fail("must be a list of two or more non-empty texts", "choices")
    try:
        "".join([prompt, *choices]).encode()
    except UnicodeEncodeError as error:
        raise fail("prompt or choices contain a lone surrogate, which is not a character") from error
    twice = [choice for choice, count in Counter(choices).items() if count > 1]
    if twice:
        raise fail(f"{twice[0]!r} is among the choices twice", "choices")
    if answer not in choices:
        raise fail(f"{answer!r} is not among the choices", "answer")
    for key in ("tag", "group"):
        if row.get(key) is not None and not isinstance(row[key], str | int):
            raise fail("must be a text or a whole number", key)
    if grouped and row.get("group") is None:
        raise fail("is missing, and evaluation.question_group_field is set", "group")
    tag, group = (None if row.get(key) is None else str(row[key]) for key in ("tag", "group"))
    return ClozeQuestion(line, prompt, tuple(choices), choices.index(answer), tag, group, file)


def documents_by_group(
    questions: Sequence[ClozeQuestion], shards: Mapping[str, Sequence[Path]], field: str, file: Path | None = None
) -> dict[str, int]:
    """Documents in D per group of questions.

    Args:
        questions: the questions; those without a group are left out.
        shards: NNNNN.jsonl.zst by split. `train` is D; the others only tell misspelled groups from unseen ones.
        field: field of a document that holds its group.
        file: file of the questions, named in the error.

    Raises:
        InputError: no split has a document of a group.
    """
    asked = {question.group: question for question in reversed(questions)}
    counts = {group: 0 for group in asked if group is not None}
    unseen = set(counts)
    for split in ("train", *(split for split in shards if split != "train")):
        for shard in shards[split]:
            if split != "train" and not unseen:
                break
            for row in files.read_jsonl_zst(shard):
                group = str(row.get(field))
                unseen.discard(group)
                if split == "train" and group in counts:
                    counts[group] += 1
    if unseen:
        first = min(unseen, key=lambda group: (str(asked[group].file), asked[group].line))
        raise InputError(
            f"no document of any split has {first!r} in its field '{field}'",
            file=asked[first].file or file,
            line=asked[first].line,
            key="group",
        )
    return counts
