"""A judge behind an endpoint: opinions, malformed and kept answers, counts, and messages."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.chat_server import Asked, ChatServer, Reply, refusal, verdict
from support.endpoint_judge import CASES, KEY, counts, judge_for, recipe_for

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import Progress
from megatron_sbp.evaluation.judge import load_judge
from megatron_sbp.evaluation.judge_prompt import prompt_digest
from megatron_sbp.evaluation.opinions import Case

pytestmark = pytest.mark.usefixtures("judge_environment")


def by_number(asked: Asked) -> Reply:
    """Not factual below 10, irrelevant where the number is odd, unclear from 36 on; late ones come first."""
    number = int(asked.text.split()[1])
    said = verdict("no" if number < 10 else "unclear" if number >= 36 else "yes", "no" if number % 2 else "yes")
    return Reply(said.content, seconds=0.2 if number == 0 else 0.002 * (number % 5))


def test_opinions_come_out_in_order_whatever_order_answers_come_in():
    with ChatServer(by_number) as server:
        judge = judge_for(server, requests_at_once=7)
        found = judge.figures(CASES, 1, "test")
    assert found["non_factual"]["value"] == 10 / 36 and found["non_factual"]["judged"] == 36
    assert found["pair_irrelevance"]["value"] == 0.5 and found["pair_irrelevance"]["judged"] == 40
    assert 2 <= server.most_at_once <= 7
    with ChatServer(by_number) as server:
        with Progress("test", 40, "documents") as progress:
            opinions = judge_for(server).opinions(CASES, progress)
            assert progress.done == 40
    assert [one.get("factual") for one in opinions] == [(1.0, 1.0)] * 10 + [(0.0, 1.0)] * 26 + [None] * 4
    assert [one["relevant"][0] for one in opinions] == [0.0, 1.0] * 20


def test_what_is_sent_and_what_is_told():
    with ChatServer(lambda asked: verdict()) as server:
        judge = judge_for(server, temperature=0.5)
        judge.figures([Case('a "seed"', "ignore this {text}", {})], 1, "test")
        (asked,) = server.asked
        assert judge.about() == {
            "model": "judge-1",
            "base_url": server.base_url,
            "prompt": prompt_digest(),
            "temperature": 0.5,
            "structured": True,
            "asked": 1,
            "cached": 0,
            "malformed": 0,
            "no_answer": 0,
            "retried": 0,
        }
        judge_for(server, temperature=None, api_key_variable=None).figures(CASES[:1], 1, "test")
    assert asked.body["model"] == "judge-1" and asked.body["temperature"] == 0.5
    assert asked.body["response_format"]["json_schema"]["schema"]["required"] == ["reason", "factual", "relevant"]
    assert (asked.seed, asked.text) == ('a "seed"', "ignore this {text}")
    assert asked.authorization == f"Bearer {KEY}"
    assert "temperature" not in server.asked[1].body and KEY not in server.asked[1].authorization


def test_a_text_without_a_seed_is_relevant_to_nothing():
    with ChatServer(lambda asked: verdict("no", "yes")) as server:
        found = judge_for(server).figures([Case(None, "text", {})], 1, "test")
    assert found["non_factual"]["value"] == 1.0 and found["pair_irrelevance"]["judged"] == 0
    assert server.asked[0].seed is None


MALFORMED = {
    "nonsense": Reply("I would rather not say."),
    "wrong shape": Reply('{"factual": "perhaps", "relevant": "yes"}'),
    "a list": Reply('["yes", "no"]'),
    "cut off": Reply('{"reason": "so it is", "factual": "y'),
    "no content": Reply(None),
    "no choices": Reply(raw='{"id": "1", "object": "chat.completion", "choices": []}'),
    "no object": Reply(raw="[1, 2]"),
    "no JSON": Reply(raw="<html>"),
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_malformed_answers_are_asked_for_again_and_then_are_no_opinion(kind, tmp_path):
    def behave(asked: Asked) -> Reply:
        number = int(asked.text.split()[1])
        return MALFORMED[kind] if number == 7 or (number == 3 and asked.number < 2) else verdict()

    answers = tmp_path / "one.answers.jsonl"
    with ChatServer(behave) as server:
        judge = judge_for(server, answers)
        assert judge.figures(CASES, 1, "test")["non_factual"]["judged"] == 39
        assert server.texts().count("text 3") == 3 and server.texts().count("text 7") == 3
        assert counts(judge) == {"asked": 40, "cached": 0, "malformed": 5, "no_answer": 1, "retried": 0}
        again = judge_for(server, answers)
        assert again.figures(CASES, 1, "test")["non_factual"]["judged"] == 39
        assert len(server.asked) == 44 and counts(again)["cached"] == 40


def test_too_many_malformed_answers_end_early_and_are_not_kept(tmp_path):
    answers = tmp_path / "one.answers.jsonl"
    with ChatServer(lambda asked: Reply("no idea") if int(asked.text.split()[1]) % 2 else verdict()) as server:
        judge = judge_for(server, answers, max_malformed=0.1, requests_at_once=1)
        with pytest.raises(
            InputError,
            match=r"the judge judge-1 gave no readable answer about 5 texts, and max_malformed 0.1 allows 4; "
            "the last was: no idea",
        ):
            judge.figures(CASES, 1, "test")
        assert set(server.texts()) == {f"text {number}" for number in range(10)}
        server.behave = lambda asked: verdict()
        again = judge_for(server, answers)
        again.figures(CASES, 1, "test")
        assert counts(again) == {"asked": 35, "cached": 5, "malformed": 0, "no_answer": 0, "retried": 0}


def test_a_server_that_repeats_the_key_does_not_get_it_into_files_or_messages(tmp_path):
    answers = tmp_path / "one.answers.jsonl"
    with ChatServer(lambda asked: Reply(f"{KEY} {verdict().content}")) as server:
        judge_for(server, answers).figures(CASES[:1], 1, "test")
        assert "***" in answers.read_text() and KEY not in answers.read_text()
        server.behave = lambda asked: Reply(KEY)
        with pytest.raises(InputError, match=r"the last was: \*\*\*$"):
            judge_for(server, answers).figures(CASES[1:2], 1, "test")


def test_a_key_that_is_a_word_of_the_answers_changes_none(tmp_path, monkeypatch):
    """Servers that need no key are given any, such as `x`, or `a`."""
    answers = tmp_path / "one.answers.jsonl"
    monkeypatch.setenv("OPENAI_API_KEY", "no")
    with ChatServer(by_number) as server:
        found = judge_for(server, answers).figures(CASES, 1, "test")
        assert found["non_factual"]["value"] == 10 / 36 and len(server.asked) == 40
        assert judge_for(server, answers).figures(CASES, 1, "test") == found


def test_json_is_found_inside_prose():
    prose = (
        'Draft: {"factual": "no", "relevant": "no"}. On second thought:\n```json\n' + verdict().content + "\n```\n{x"
    )
    with ChatServer(lambda asked: Reply(prose)) as server:
        found = judge_for(server).figures(CASES[:2], 1, "test")
    assert found["non_factual"]["value"] == found["pair_irrelevance"]["value"] == 0.0


def test_a_text_that_is_refused_is_no_opinion_and_not_asked_about_again():
    def behave(asked: Asked) -> Reply:
        return refusal(400, "this text is too long") if asked.text == "text 5" else verdict()

    with ChatServer(behave) as server:
        judge = judge_for(server, requests_at_once=1)
        assert judge.figures(CASES, 1, "test")["non_factual"]["judged"] == 39
    assert server.texts().count("text 5") == 1 and judge.about()["structured"] is True
    assert counts(judge) == {"asked": 40, "cached": 0, "malformed": 1, "no_answer": 1, "retried": 0}


def test_requests_that_are_all_refused_end_with_the_reason():
    with ChatServer(lambda asked: refusal(400, "temperature must be 1")) as server:
        with pytest.raises(InputError, match=r"allows 4; the last was: HTTP 400: temperature must be 1"):
            judge_for(server).figures(CASES, 1, "test")


def test_a_second_measurement_asks_nothing(tmp_path):
    answers = tmp_path / "one.answers.jsonl"
    with ChatServer(by_number) as server:
        first = judge_for(server, answers).figures(CASES, 1, "test")
        judge = judge_for(server, answers)
        assert judge.figures([*CASES, *CASES], 1, "test")["pair_irrelevance"]["judged"] == 80
        assert judge.figures(CASES, 1, "test") == first
        assert len(server.asked) == 40
        assert counts(judge) == {"asked": 0, "cached": 40, "malformed": 0, "no_answer": 0, "retried": 0}
        # What another process kept counts too; another seed document, text, or temperature is another question.
        judge_for(server, tmp_path / "other.answers.jsonl").figures(CASES, 1, "test")
        assert len(server.asked) == 40
        judge_for(server, answers, temperature=1).figures(CASES[:1], 1, "test")
        judge_for(server, answers).figures([Case("seed 1", "text 0", {}), Case(None, "text 0", {})], 1, "test")
        assert len(server.asked) == 43
    assert KEY not in answers.read_text()


def test_the_same_text_is_asked_about_once():
    with ChatServer(lambda asked: verdict()) as server:
        found = judge_for(server).figures([CASES[0]] * 10, 1, "test")
    assert len(server.asked) == 1 and found["non_factual"]["judged"] == 10


PROGRAM = """
import sys
from pathlib import Path
from megatron_sbp.evaluation.judge_endpoint import load_endpoint
sys.path.insert(0, sys.argv[1])
from test_judge_endpoint import CASES, recipe_for
load_endpoint(recipe_for(sys.argv[2], requests_at_once=2), Path(sys.argv[3])).figures(CASES, 1, "test")
"""


def test_what_was_answered_before_a_kill_is_not_asked_again(tmp_path):
    answers, killed = tmp_path / "one.answers.jsonl", []

    def behave(asked: Asked) -> Reply:
        if len(server.asked) == 15:
            process.kill()
            killed.append(asked.text)
        return verdict("no", "yes")

    with ChatServer(behave) as server:
        command = [sys.executable, "-c", PROGRAM, str(Path(__file__).parent), server.base_url, str(answers)]
        process = subprocess.Popen(command, cwd=Path(__file__).parents[1])
        assert process.wait(120) == -9 and killed
        kept = {json.loads(line)["key"] for line in answers.read_text().splitlines()}
        assert len(kept) >= 12
        whole = answers.read_bytes()
        answers.write_bytes(whole[:-20])  # the kill was in mid-write
        before = len(server.asked)
        judge = judge_for(server, answers)
        found = judge.figures(CASES, 1, "test")["non_factual"]
        assert (found["value"], found["judged"]) == (1.0, 40)
        assert len(server.asked) - before == counts(judge)["asked"] == 40 - (len(kept) - 1)
        again = judge_for(server, answers)
        again.figures(CASES, 1, "test")
        assert counts(again)["asked"] == 0


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (None, "OPENAI_API_KEY is not set: export the key, or give null"),
        ("  ", "OPENAI_API_KEY is not set"),
        ("sk-secret\u00e9", "what OPENAI_API_KEY holds is not a key"),
        ("sk-secret two", "what OPENAI_API_KEY holds is not a key"),
    ],
)
def test_a_key_that_is_missing_or_cannot_be_sent(monkeypatch, key, message):
    monkeypatch.delenv("OPENAI_API_KEY")
    if key is not None:
        monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(InputError, match=message) as found:
        load_judge(recipe_for("http://127.0.0.1:1/v1"))
    assert found.value.key == "evaluation.judge_endpoint.api_key_variable" and "secret" not in str(found.value)
