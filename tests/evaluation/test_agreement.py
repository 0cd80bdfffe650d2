"""Agreement with a known truth: the figures, the cases that are shipped, and the tool on both kinds of judges."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.chat_server import Asked, ChatServer, Reply, verdict

from megatron_sbp.base.errors import InputError
from megatron_sbp.evaluation.agreement import SHIPPED, Known, agreement, read_known
from megatron_sbp.evaluation.opinions import Case, Judge

ROOT = Path(__file__).parents[2]
PEOPLE = ROOT / "examples" / "people"


class Fixed(Judge):
    """Says what it was given."""

    def __init__(self, said):
        self.said = said

    def about(self):
        return {}

    def opinions(self, cases, progress):
        return self.said


def test_accuracy_and_kappa():
    # Cohen's kappa of the textbook table 20, 5, 10, 15: agreement 0.7, by chance 0.5.
    pairs = [(True, 0)] * 20 + [(True, 1)] * 5 + [(False, 0)] * 10 + [(False, 1)] * 15
    known = [Known(Case("s", "t", {}), {"factual": truth, "relevant": None}) for truth, _ in pairs]
    known += [Known(Case("s", "t", {}), {"factual": True, "relevant": None})] * 3
    said = [{"factual": (wrong, 1), "relevant": (0, 1)} for _, wrong in pairs] + [{}, {}, {"factual": (1, 4)}]
    found = agreement(Fixed(said), known)
    assert found["factual"]["known"] == 53 and found["factual"]["no_opinion"] == 2
    assert found["factual"]["answers"] == {"true": {"yes": 21, "no": 5}, "false": {"yes": 10, "no": 15}}
    found = agreement(Fixed(said[:50]), known[:50])["factual"]
    assert found["accuracy"]["value"] == 0.7 and found["kappa"]["value"] == pytest.approx(0.4)
    assert found["accuracy"]["low"] == pytest.approx(0.5539, abs=1e-3)  # Clopper and Pearson
    assert found["kappa"]["low"] == pytest.approx((found["accuracy"]["low"] - 0.5) / 0.5)
    assert agreement(Fixed(said), known)["relevant"] == {
        "known": 0,
        "no_opinion": 0,
        "answers": {"true": {"yes": 0, "no": 0}, "false": {"yes": 0, "no": 0}},
        "accuracy": {"value": None, "low": None, "high": None},
        "kappa": {"value": None, "low": None, "high": None},
    }
    one_sided = agreement(Fixed(said[:20]), known[:20])["factual"]
    assert one_sided["accuracy"]["value"] == 1.0 and one_sided["kappa"]["value"] is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no case"),
        ("[1]", "1: is not an object with"),
        ('{"seed": null, "text": "t", "factual": true}', "1: is not an object with"),
        ('{"seed": null, "text": "t", "factual": "yes", "relevant": null}', "1: is not an object with"),
        ('{"seed": 3, "text": "t", "factual": true, "relevant": null}', "1: is not an object with"),
    ],
)
def test_files_that_hold_no_cases(tmp_path, text, message):
    file = tmp_path / "cases.jsonl"
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        read_known(file)
    with pytest.raises(InputError, match="cannot be read"):
        read_known(tmp_path / "nowhere.jsonl")


def test_only_a_newline_ends_a_line(tmp_path):
    file = tmp_path / "cases.jsonl"
    row = '{"seed": null, "text": "one\u2028two\x85three\x0b", "factual": true, "relevant": null}'
    file.write_text(f"{row}\n{row}\n", encoding="utf-8")
    with pytest.raises(InputError, match="1: is not an object"):  # a vertical tab is to be escaped in JSON
        read_known(file)
    file.write_text(f"{row}\n{row}\n".replace("\x0b", ""), encoding="utf-8")
    assert [one.case.text for one in read_known(file)] == ["one\u2028two\x85three"] * 2


def test_the_shipped_cases_are_those_that_the_script_writes(tmp_path):
    subprocess.run([sys.executable, PEOPLE / "make_judge_cases.py", tmp_path / "cases.jsonl"], check=True)
    assert (tmp_path / "cases.jsonl").read_bytes() == SHIPPED.read_bytes()
    truths = [(one.case.row["id"].split("-")[0], *one.truth.values()) for one in read_known(SHIPPED)]
    assert sorted(truths, key=str) == sorted(
        [("same", True, True), ("changed", False, True), ("other", None, False)] * 20, key=str
    )
    assert len({one.case.text for one in read_known(SHIPPED)}) == 60


def tool(*words) -> dict:
    command = [sys.executable, ROOT / "tools" / "judge_agreement.py", *words]
    environment = {**os.environ, "NO_PROXY": "127.0.0.1"}
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_tool_asks_a_function(tmp_path):
    shutil.copytree(PEOPLE, tmp_path / "people", ignore=shutil.ignore_patterns("corpus.jsonl"))
    make = [sys.executable, tmp_path / "people" / "make_world.py", tmp_path / "people", "--documents", "10"]
    subprocess.run(make, check=True, capture_output=True)
    found = tool("--recipe", tmp_path / "people" / "recipe.yaml")
    assert found["judge"]["function"] == "judge" and found["cases"] == 60
    assert found["factual"]["accuracy"]["value"] == found["relevant"]["kappa"]["value"] == 1.0


def test_the_tool_asks_an_endpoint_once(tmp_path):
    truth = {one.case.text: one.truth for one in read_known(SHIPPED)}

    def behave(asked: Asked) -> Reply:
        """Knows what is related, and takes everything for true."""
        return verdict("yes", "yes" if truth[asked.text]["relevant"] else "no")

    with ChatServer(behave) as server:
        endpoint = {"base_url": server.base_url, "model": "m", "api_key_variable": "null"}
        words = [f"evaluation.judge_endpoint.{key}={value}" for key, value in endpoint.items()]
        command = ["--recipe", PEOPLE / "recipe.yaml", *words, "evaluation.judge=null", "--answers", tmp_path / "kept"]
        found, again = tool(*command), tool(*command)
        assert len(server.asked) == 60
    assert found["judge"]["asked"] == again["judge"]["cached"] == 60
    assert found["factual"]["accuracy"]["value"] == 0.5 and found["factual"]["kappa"]["value"] == 0.0
    assert found["relevant"]["kappa"]["value"] == 1.0 and found["relevant"] == again["relevant"]


def test_an_endpoint_that_is_right_nine_times_in_ten_is_measured_as_that():
    known = read_known(SHIPPED)
    wrong = mistaken(known, 0.1)
    flipped = {True: "no", False: "yes", None: "unclear"}
    straight = {True: "yes", False: "no", None: "unclear"}

    def behave(asked: Asked) -> Reply:
        """Flips what it is to get wrong, and gives every third answer in prose."""
        truth = next(one.truth for one in known if one.case.text == asked.text)
        said = {name: (flipped if (asked.text, name) in wrong else straight)[value] for name, value in truth.items()}
        whole = json.dumps({"reason": "so it is", **said})
        return Reply(whole if len(asked.text) % 3 else f"I compared both texts.\n```json\n{whole}\n```")

    with ChatServer(behave) as server:
        endpoint = {"base_url": server.base_url, "model": "m", "api_key_variable": "null", "requests_at_once": 8}
        words = [f"evaluation.judge_endpoint.{key}={value}" for key, value in endpoint.items()]
        found = tool("--recipe", PEOPLE / "recipe.yaml", "evaluation.judge=null", *words)
        assert len(server.asked) == 60 and any("json_schema" in str(asked.body) for asked in server.asked)
    assert found["judge"]["malformed"] == found["judge"]["no_answer"] == 0
    for name, cases, low, high in (("factual", 40, 0.763, 0.972), ("relevant", 60, 0.795, 0.962)):
        figures = found[name]
        assert (figures["known"], figures["no_opinion"]) == (cases, 0)
        assert figures["accuracy"]["value"] == pytest.approx(0.9)
        assert figures["accuracy"]["low"] == pytest.approx(low, abs=1e-3)  # Clopper and Pearson
        assert figures["accuracy"]["high"] == pytest.approx(high, abs=1e-3)
    assert found["factual"]["kappa"]["value"] == pytest.approx(0.8)  # as many true as false: 2 * 0.9 - 1


def mistaken(known: list[Known], share: float) -> set[tuple[str, str]]:
    """Texts and the opinions to be wrong about: this share of the cases with either truth."""
    found = set()
    for name in ("factual", "relevant"):
        for truth in (True, False):
            mine = [one.case.text for one in known if one.truth[name] is truth]
            found |= {(text, name) for text in random.Random(name).sample(mine, round(share * len(mine)))}
    return found
