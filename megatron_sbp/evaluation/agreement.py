"""How well a judge agrees with known answers: accuracy, and Cohen's kappa (0 is chance).

Cases are JSON lines: `id`, `seed` (a text or null), `text`, and the truth as `factual` and `relevant`: true, false, or
null where it cannot be told from what a judge sees.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import Progress
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.evaluation.confidence import estimate, share_interval
from megatron_sbp.evaluation.opinions import OPINIONS, Case, Judge

SHIPPED = Path(__file__).with_name("prompts") / "judge_cases.jsonl"
"""60 cases about made-up people, in plain English (examples/people/make_judge_cases.py)."""


@dataclass(frozen=True)
class Known:
    """A text whose truth is known, by `factual` and `relevant`."""

    case: Case
    truth: dict[str, bool | None]


def read_known(file: Path) -> list[Known]:
    """The cases of a file.

    Raises:
        InputError: the file is not there or holds none, or a line is not a case; names the line.
    """
    try:
        lines = file.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read ({error})", file=file) from error
    if lines == [""]:
        raise InputError("holds no case", file=file)
    return [_read(line, file, number) for number, line in enumerate(lines, 1)]


def _read(line: str, file: Path, number: int) -> Known:
    try:
        row = json.loads(line)
        seed, text = row["seed"], row["text"]
        truth = {name: row[name] for name in OPINIONS}
    except (ValueError, KeyError, TypeError):
        row, seed, text, truth = {}, None, None, {}
    fits = isinstance(text, str) and (seed is None or isinstance(seed, str))
    if not fits or not all(value is None or isinstance(value, bool) for value in truth.values()):
        raise InputError("is not an object with id, seed, text, factual, relevant", file=file, line=number)
    assert isinstance(text, str)
    return Known(Case(seed, text, {"id": row.get("id", f"line {number}")}), truth)


def agreement(judge: Judge, known: Sequence[Known]) -> dict[str, JsonObject]:
    """Asks a judge about cases.

    Args:
        judge: its opinion that is a share, or counts, means yes where more than half is right.
        known: the cases.

    Returns:
        For `factual` and `relevant`: `known` (cases whose truth is given), `no_opinion` (those that the judge did not
        decide; they count neither for nor against it), `answers` by truth, `accuracy` and `kappa` with `value`, `low`
        and `high`.

    Raises:
        InputError: the judge failed.
    """
    with Progress("agreement: judging", len(known), "cases") as progress:
        found = judge.opinions([one.case for one in known], progress)
    result = {}
    for opinion in OPINIONS:
        said = [
            (truth, None if opinion not in one else _means_yes(*one[opinion]))
            for truth, one in zip((one.truth[opinion] for one in known), found, strict=True)
            if truth is not None
        ]
        decided = [(truth, yes) for truth, yes in said if yes is not None]
        result[opinion] = {
            "known": len(said),
            "no_opinion": len(said) - len(decided),
            "answers": {
                name: {"yes": decided.count((truth, True)), "no": decided.count((truth, False))}
                for name, truth in (("true", True), ("false", False))
            },
            **_figures(decided),
        }
    return result


def shipped_agreement(judge: Judge) -> JsonObject:
    """Asks a judge behind an endpoint, before anything else, about the shipped cases.

    Returns:
        What `agreement` does, `cases` (how many), `sha256` (of their file), and what the judge counted:
        `malformed` answers, and cases without a readable one (`no_answer`); kept answers count for neither.

    Raises:
        InputError: the judge failed.
    """
    known = read_known(SHIPPED)
    found = agreement(judge, known)
    counts = judge.about()
    told = {name: counts[name] for name in ("malformed", "no_answer")}
    return {"cases": len(known), "sha256": files.sha256(SHIPPED), **told, **found}


def _means_yes(wrong: float, whole: float) -> bool:
    return 2 * wrong < whole


def _figures(decided: Sequence[tuple[bool, bool]]) -> dict[str, dict[str, float | None]]:
    """Accuracy with its exact interval, and kappa with the same one, agreement by chance taken as known (Cohen, 1960).

    Kappa is None where truth and judge say the same of all cases: chance alone would agree then.
    """
    if not decided:
        return {"accuracy": estimate(None, None), "kappa": estimate(None, None)}
    cases, right = len(decided), sum(truth == yes for truth, yes in decided)
    accuracy, interval = right / cases, share_interval(right, cases)
    assert interval is not None
    true, yes = (sum(one[place] for one in decided) / cases for place in (0, 1))
    chance = true * yes + (1 - true) * (1 - yes)
    low, high = interval
    kappa = estimate(None, None)
    if chance < 1:
        above = [(value - chance) / (1 - chance) for value in (accuracy, low, high)]
        kappa = estimate(above[0], (above[1], above[2]))
    return {"accuracy": estimate(accuracy, interval), "kappa": kappa}
