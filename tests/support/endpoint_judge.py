"""A judge behind a test's own server."""

from __future__ import annotations

from pathlib import Path

from support.chat_server import ChatServer
from support.small_recipe import small_recipe

from megatron_sbp.evaluation.judge_client import Pauses
from megatron_sbp.evaluation.judge_endpoint import EndpointJudge, load_endpoint
from megatron_sbp.evaluation.opinions import Case
from megatron_sbp.recipe import Documents, Evaluation, JudgeEndpoint, Recipe

KEY = "sk-verysecret0123456789"
CASES = [Case(f"seed {number}", f"text {number}", {"id": f"syn-{number}"}) for number in range(40)]


def recipe_for(base_url: str, **values) -> Recipe:
    endpoint = JudgeEndpoint(base_url=base_url, model="judge-1", **values)
    documents = Documents(inputs=["x"], train=1, valid=1, test=1)
    return small_recipe(Path("nowhere"), documents, evaluation=Evaluation(judge_endpoint=endpoint))


def judge_for(server: ChatServer, answers: Path | None = None, **values) -> EndpointJudge:
    return load_endpoint(recipe_for(server.base_url, **values), answers, Pauses(first=0.001, longest=0.01))


def counts(judge: EndpointJudge) -> dict[str, int]:
    about = judge.about()
    return {name: about[name] for name in ("asked", "cached", "malformed", "no_answer", "retried")}
