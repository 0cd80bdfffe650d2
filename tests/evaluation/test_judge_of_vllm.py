"""A judge behind a real server: vLLM with a model that knows nothing, and is held to the form of an answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.made_up_model import hugging_face_model
from support.small_recipe import small_recipe
from support.vllm_environment import HEAD, vllm_server

from megatron_sbp.base.errors import InputError
from megatron_sbp.evaluation import judge_prompt
from megatron_sbp.evaluation.agreement import shipped_agreement
from megatron_sbp.evaluation.judge_endpoint import EndpointJudge, load_endpoint
from megatron_sbp.evaluation.opinions import Case
from megatron_sbp.recipe import Documents, Evaluation, JudgeEndpoint, Model
from megatron_sbp.report.judge_reading import agrees_poorly
from megatron_sbp.tokenization.bpe import train_bpe
from megatron_sbp.tokenization.tokenizer import save_tokenizer

pytestmark = [pytest.mark.slow, pytest.mark.vllm, pytest.mark.timeout(900)]
CONTEXT = 4096
CASES = [Case(f"seed {number}", f"text {number}", {"id": f"syn-{number}"}) for number in range(12)]
TOO_LONG = Case("seed", "1 2 " * CONTEXT, {"id": "syn-long"})


@pytest.fixture(scope="module")
def base_url(vllm_python, tmp_path_factory):
    folder = tmp_path_factory.mktemp("judge")
    asked = " ".join(message["content"] for message in judge_prompt.messages("seed", "text"))
    roles = {"end_of_document": "<eod>", "padding": "<pad>", "separator": "<sep>"}
    tokenizer = train_bpe([asked], 600, roles)
    model = Model(
        num_layers=2, hidden_size=64, ffn_hidden_size=128, num_attention_heads=2, num_query_groups=2, kv_channels=HEAD,
        sequence_length=CONTEXT,
    )  # fmt: skip
    hugging_face_model(folder / "model", model, tokenizer.vocab_size)
    save_tokenizer(folder / "model", tokenizer)
    template = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
    (folder / "model" / "chat_template.jinja").write_text(template)
    with vllm_server(vllm_python, folder / "model", "judge-1", CONTEXT, folder / "log") as address:
        yield address


def judge(base_url: str, answers: Path, **values) -> EndpointJudge:
    chosen = {"model": "judge-1", "api_key_variable": None, "temperature": 2.0, **values}
    endpoint = JudgeEndpoint(base_url=base_url, **chosen)
    documents = Documents(inputs=["x"], train=1, valid=1, test=1)
    evaluation = Evaluation(judge_endpoint=endpoint)
    return load_endpoint(small_recipe(Path("nowhere"), documents, evaluation=evaluation), answers)


def test_every_answer_has_its_form_and_is_kept(base_url, tmp_path):
    """Random weights, at a high temperature, say anything: that all of it can be read is the work of the form."""
    first = judge(base_url, tmp_path / "answers")
    found = first.figures(CASES, 1, "test")
    about = first.about()
    assert about["structured"] is True and about["asked"] == len(CASES)
    assert (about["malformed"], about["no_answer"], about["retried"]) == (0, 0, 0)
    assert set(found) == {"non_factual", "pair_irrelevance"}
    assert sum(figure["judged"] for figure in found.values()) > 0  # the others are unclear
    again = judge(base_url, tmp_path / "answers")
    assert again.figures(CASES, 1, "test") == found
    assert (again.about()["asked"], again.about()["cached"]) == (0, len(CASES))


def test_random_weights_agree_poorly_with_a_known_truth(base_url, tmp_path):
    found = {"agreement": shipped_agreement(judge(base_url, tmp_path / "answers"))}
    assert (found["agreement"]["cases"], found["agreement"]["malformed"]) == (60, 0)
    assert agrees_poorly(found) == ["factual", "relevant"]


def test_a_text_that_the_model_cannot_take_is_no_answer(base_url, tmp_path):
    one = judge(base_url, tmp_path / "answers")
    one.figures([*CASES, TOO_LONG], 1, "test")
    assert (one.about()["no_answer"], one.about()["malformed"]) == (1, 1)  # it counts as both


def test_a_model_that_the_server_does_not_know(base_url, tmp_path):
    with pytest.raises(InputError, match=r"knows no model 'judge-2'.*HTTP 404"):
        judge(base_url, tmp_path / "answers", model="judge-2").figures(CASES, 1, "test")
