"""Requests to a judge's endpoint: a real server that fails in every way."""

from __future__ import annotations

import email.utils
import time

import pytest
from support.chat_server import Asked, ChatServer, Reply, refusal, verdict
from support.endpoint_judge import CASES, KEY, counts, judge_for, recipe_for

from megatron_sbp.base.errors import InputError
from megatron_sbp.evaluation.judge_client import Pauses
from megatron_sbp.evaluation.judge_endpoint import load_endpoint

pytestmark = pytest.mark.usefixtures("judge_environment")

FAULTS = {
    "server error": (Reply(status=500, raw="oops"), {}),
    "busy": (Reply(status=503, raw="{}"), {}),
    "rate limit": (refusal(429, "slow down", code="rate_limit_exceeded"), {}),
    "closed in mid-answer": (Reply(broken=True), {}),
    "an answer that never comes": (Reply(seconds=60), {"timeout": 0.5}),
    "an answer that never ends": (Reply(drips=True), {"timeout": 0.5}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_tried_again(fault):
    reply, values = FAULTS[fault]
    with ChatServer(lambda asked: verdict() if asked.number >= 2 else reply) as server:
        judge = judge_for(server, **values)
        assert judge.figures(CASES[:3], 1, "test")["non_factual"]["judged"] == 3
    found = counts(judge)
    retried = found.pop("retried")
    assert found == {"asked": 3, "cached": 0, "malformed": 0, "no_answer": 0}
    assert retried >= 6 if values else retried == 6  # under load a good answer may be late too


GIVING_UP = {
    "server error": "HTTP 500: .*tried 3 times",
    "busy": "HTTP 503: .*tried 3 times",
    "rate limit": "HTTP 429: slow down .*tried 3 times",
    "closed in mid-answer": r"the connection broke \(.*tried 3 times",
    "an answer that never comes": r"no complete answer within 0.5 seconds \(tried 3 times",
    "an answer that never ends": r"no complete answer within 0.5 seconds \(tried 3 times",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_stays_ends_with_what_it_is(fault):
    reply, values = FAULTS[fault]
    with ChatServer(lambda asked: reply) as server:
        judge = judge_for(server, max_retries=2, **values)
        with pytest.raises(InputError, match=f"the judge at {server.base_url}: {GIVING_UP[fault]}") as found:
            judge.figures(CASES[:1], 1, "test")
        assert found.value.key == "evaluation.judge_endpoint"
    assert counts(judge)["retried"] == 2


def test_pauses_grow_to_a_limit_and_differ():
    pauses = Pauses(first=1.0, longest=60.0)
    for faults, longest in ((1, 1), (2, 2), (6, 32), (7, 60), (5000, 60)):
        drawn = [pauses.after(faults) for _ in range(50)]
        assert longest / 2 <= min(drawn) < max(drawn) <= longest
    assert all(100 <= pauses.after(1, 100.0) <= 101 for _ in range(50)) and pauses.after(7, 0.0) >= 30


RETRY_AFTER = {
    "seconds": lambda: {"Retry-After": "1"},
    "milliseconds": lambda: {"retry-after-ms": "1000"},
    "a date": lambda: {"Retry-After": email.utils.formatdate(time.time() + 2, usegmt=True)},  # in whole seconds
}


@pytest.mark.parametrize("form", RETRY_AFTER)
def test_the_server_says_how_long_to_wait(form):
    def behave(asked: Asked) -> Reply:
        return verdict() if asked.number else Reply(status=429, raw="{}", headers=RETRY_AFTER[form]())

    with ChatServer(behave) as server:
        judge_for(server).figures(CASES[:1], 1, "test")
    first, second = server.asked
    assert second.at - first.at > 0.9  # without the header it would be a thousandth of a second


def test_a_server_that_asks_to_wait_a_day_is_not_waited_for():
    slow = Reply(status=429, raw="{}", headers={"Retry-After": "86400"})
    with ChatServer(lambda asked: slow) as server, pytest.raises(InputError, match="asks to wait 86,400 seconds"):
        judge_for(server).figures(CASES[:1], 1, "test")


REFUSALS = {
    "401": (
        refusal(401, f"Incorrect API key provided: {KEY}"),
        "refuses the key in OPENAI_API_KEY: HTTP 401: .*[*]{3}",
    ),
    "403": (refusal(403, "not for you"), "refuses the key in OPENAI_API_KEY: HTTP 403: not for you"),
    "404": (refusal(404, "no such model"), "knows no model 'judge-1', or base_url is wrong: HTTP 404: no such model"),
    "quota": (refusal(429, "You have no money left", code="insufficient_quota"), "HTTP 429: You have no money left"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_another_try_does_not_change_is_told_at_once_and_without_the_key(case, capsys):
    reply, message = REFUSALS[case]
    with ChatServer(lambda asked: reply) as server:
        judge = judge_for(server, requests_at_once=1)
        with pytest.raises(InputError, match=message) as found:
            judge.figures(CASES, 1, "test")
    assert len(server.asked) == 1 and counts(judge)["retried"] == 0
    told = capsys.readouterr()
    assert KEY not in f"{found.value}{found.value.__cause__}{told.out}{told.err}"


def test_an_endpoint_that_is_not_there():
    with ChatServer(lambda asked: verdict()) as server:
        gone = server.base_url
    judge = load_endpoint(recipe_for(gone, max_retries=1), None, Pauses(first=0.001))
    with pytest.raises(InputError, match=rf"the judge at {gone}: cannot be reached \(.*tried 2 times"):
        judge.figures(CASES, 1, "test")


def test_a_server_without_response_format_is_asked_without(capsys):
    def behave(asked: Asked) -> Reply:
        return refusal(400, "unknown field response_format") if "response_format" in asked.body else verdict()

    with ChatServer(behave) as server:
        judge = judge_for(server, requests_at_once=1)
        assert judge.figures(CASES, 1, "test")["non_factual"]["judged"] == 40
    assert len(server.asked) == 41 and judge.about()["structured"] is False
    assert counts(judge)["malformed"] == counts(judge)["retried"] == 0
    assert capsys.readouterr().err.count("does not accept response_format") == 1
