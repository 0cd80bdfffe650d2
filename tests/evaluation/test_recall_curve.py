"""Recall against tokens: every checkpoint of Megatron answers as its Hugging Face model does, in order of tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.made_up_model import hugging_face_model, shape

from megatron_sbp.base.errors import InputError
from megatron_sbp.checkpoint.hugging_face_import import RELEASE, import_checkpoint
from megatron_sbp.evaluation.model import load_model
from megatron_sbp.evaluation.questions import ClozeQuestion
from megatron_sbp.evaluation.recall import RecallQuestions
from megatron_sbp.evaluation.recall_curve import recall_curve
from megatron_sbp.tokenization.bpe import train_bpe
from megatron_sbp.tokenization.tokenizer import ROLES, save_tokenizer

MODEL = shape(True, True, layers=1)
CITIES = ("Athens", "Berlin", "Cairo", "Lima", "Oslo")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(folder, train_bpe([" ".join(CITIES)], 290, {role: f"<|{role}|>" for role in ROLES}))
    return folder


def questions(tokenizer: Path, documents: dict[str, int] | None) -> RecallQuestions:
    from megatron_sbp.tokenization.tokenizer import load_tokenizer

    asked = [
        ClozeQuestion(line, f"Person {line} was born in", CITIES, line % len(CITIES), None, f"p{line}")
        for line in range(1, 41)
    ]
    return RecallQuestions(asked, load_tokenizer(tokenizer), Path("questions.jsonl"), documents)


def curve(checkpoints: dict[int, Path], tokenizer: Path, asked: RecallQuestions) -> list[dict]:
    return recall_curve(
        checkpoints, model=MODEL, tokenizer=tokenizer, questions=asked, batch_size=8, device="cpu", label="recall"
    )


def test_points_are_those_of_the_models_by_ascending_tokens(tokenizer, tmp_path):
    checkpoints, models = {}, {}
    for tokens, seed in ((9000, 1), (3000, 2)):  # the later one first
        exported = hugging_face_model(tmp_path / f"{tokens}-export", MODEL, 290, seed)
        import_checkpoint(exported, MODEL, vocabulary=290, padded=384, target=tmp_path / f"{tokens}")
        checkpoints[tokens] = tmp_path / f"{tokens}" / RELEASE
        models[tokens] = load_model(exported, torch.device("cpu"))
    asked = questions(tokenizer, {f"p{line}": line % 4 for line in range(1, 41)})
    found = curve(checkpoints, tokenizer, asked)
    assert [point["tokens"] for point in found] == [3000, 9000]
    for point in found:
        expected = asked.ask(models[point["tokens"]], 8, "expected")
        assert (point["recall"], point["stderr"]) == (expected["recall"], expected["stderr"])
        assert point["by_documents"] == {name: part["recall"] for name, part in expected["by_documents"].items()}
        assert point["by_documents"].keys() == {"0", "1", "2", "3+"}
    assert found[0]["recall"] != found[1]["recall"]  # else the order could not be seen
    [alone] = curve({3000: checkpoints[3000]}, tokenizer, questions(tokenizer, None))
    assert alone == {**found[0], "by_documents": None}


def test_a_missing_checkpoint_is_named(tokenizer, tmp_path):
    with pytest.raises(InputError) as caught:
        curve({10: tmp_path / "iter_0000001"}, tokenizer, questions(tokenizer, None))
    assert "iter_0000001" in str(caught.value)
