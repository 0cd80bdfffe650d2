"""The figures of one arm: each split by its own tokens, questions where there are some, and what does not fit."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.made_up_model import hugging_face_model, shape

from megatron_sbp.base.errors import InputError
from megatron_sbp.evaluation.arm import HeldOut, evaluate_arm
from megatron_sbp.evaluation.model import load_model
from megatron_sbp.evaluation.questions import ClozeQuestion
from megatron_sbp.evaluation.recall import RecallQuestions
from megatron_sbp.recipe import Evaluation
from megatron_sbp.tokenization.bpe import train_bpe
from megatron_sbp.tokenization.indexed import write_indexed
from megatron_sbp.tokenization.tokenizer import ROLES, load_tokenizer, save_tokenizer

DOCUMENTS = {"valid": 9, "test": 24}
BYTES = {"valid": 700, "test": 1900}
EVALUATION = Evaluation(batch_size=4, choice_questions=12, choice_context=6, choice_continuation=4)


@pytest.fixture(scope="module")
def arm(tmp_path_factory) -> SimpleNamespace:
    """Random tokens and weights; the embeddings of the test documents are in two shards."""
    folder = tmp_path_factory.mktemp("arm")
    tokenizer = train_bpe(["a few words to train on"], 270, {role: f"<|{role}|>" for role in ROLES})
    save_tokenizer(folder / "tokenizer", tokenizer)
    random = np.random.default_rng(2)
    for split, count in DOCUMENTS.items():
        with write_indexed(folder / split, np.uint16) as writer:
            for length in random.integers(12, 30, count):
                tokens = np.append(random.integers(3, tokenizer.vocab_size, length), tokenizer.end_of_document)
                writer.add(tokens, np.array([len(tokens)]))
    vectors = random.standard_normal((DOCUMENTS["test"], 8))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)
    (folder / "embeddings").mkdir()
    for place, part in enumerate((vectors[:10], vectors[10:])):
        np.save(folder / "embeddings" / f"{place:05d}.npy", part)
    hugging_face_model(folder / "checkpoint", shape(True, True, layers=1), tokenizer.vocab_size)
    return SimpleNamespace(
        checkpoint=folder / "checkpoint", tokenizer=folder / "tokenizer", embeddings=folder / "embeddings",
        tokens={split: folder / split for split in DOCUMENTS},
    )  # fmt: skip


def measured(arm: SimpleNamespace, **other) -> dict:
    held_out = HeldOut(arm.tokens, BYTES, other.pop("embeddings", arm.embeddings))
    given = {
        "checkpoint": arm.checkpoint, "tokenizer": arm.tokenizer, "held_out": held_out, "evaluation": EVALUATION,
        "sequence_length": 16, "seed": 1, "device": "cpu",
    }  # fmt: skip
    return evaluate_arm("sbp", **{**given, **other})


def test_each_split_is_measured_by_its_own_tokens(arm):
    found = measured(arm)
    assert (found["arm"], found["device"], found["precision"]) == ("sbp", "cpu", "fp32")
    model = load_model(arm.checkpoint, torch.device("cpu"))
    for split in DOCUMENTS:
        ids = np.fromfile(f"{arm.tokens[split]}.bin", np.uint16).astype(np.int64)
        end = load_tokenizer(arm.tokenizer).end_of_document
        whole = torch.from_numpy(np.append([end], ids))
        total = 0.0
        for at in range(0, len(ids), 16):
            window = whole[None, at : at + 17]
            with torch.inference_mode():
                logits = model(window[:, :-1]).logits[0]
            total += float(torch.nn.functional.cross_entropy(logits, window[0, 1:], reduction="sum"))
        assert found[split]["tokens"] == len(ids) and found[split]["bytes"] == BYTES[split]
        assert found[split]["loss"] == pytest.approx(total / len(ids), abs=1e-4)
    assert found["choice"]["documents"] == DOCUMENTS["test"] and found["choice"]["questions"] == 12
    assert found["recall"] is None


def test_questions_are_asked_of_this_model(arm):
    questions = [ClozeQuestion(n, f"a few {n}", ("words", "to train"), n % 2, None, None) for n in range(1, 9)]
    asked = RecallQuestions(questions, load_tokenizer(arm.tokenizer), Path("questions.jsonl"))
    expected = asked.ask(load_model(arm.checkpoint, torch.device("cpu")), 4, "expected")
    assert measured(arm, questions=asked)["recall"] == expected


def test_embeddings_of_other_documents_are_an_error(arm, tmp_path):
    (tmp_path / "00000.npy").write_bytes((arm.embeddings / "00000.npy").read_bytes())
    with pytest.raises(InputError, match="10 embeddings for 24 test documents") as caught:
        measured(arm, embeddings=tmp_path)
    assert caught.value.file == tmp_path
    (tmp_path / "00000.npy").unlink()
    with pytest.raises(InputError, match="0 embeddings for 24 test documents"):
        measured(arm, embeddings=tmp_path)


def test_a_model_with_too_few_tokens_and_a_missing_one_are_errors(arm, tmp_path):
    small = hugging_face_model(tmp_path / "small", shape(True, True, layers=1), 200)
    with pytest.raises(InputError, match="knows 200 tokens, the tokenizer has 270") as caught:
        measured(arm, checkpoint=small)
    assert caught.value.file == small / "config.json"
    with pytest.raises(InputError, match=r"config.json is missing"):
        measured(arm, checkpoint=tmp_path / "nothing")
