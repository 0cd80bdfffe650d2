"""Held-out loss against a direct computation, and its arithmetic."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from support.made_up_model import tiny_qwen3
from transformers import Qwen3ForCausalLM

from megatron_sbp.base.errors import InputError
from megatron_sbp.evaluation.perplexity import held_out_loss, summary, windows
from megatron_sbp.evaluation.statistics import ratio_stderr
from megatron_sbp.tokenization.indexed import open_indexed, write_indexed

END = 0


def tiny_model(vocabulary: int = 50, seed: int = 0) -> Qwen3ForCausalLM:
    model = tiny_qwen3(vocabulary, seed, tie_word_embeddings=False, max_position_embeddings=64)
    with torch.no_grad():  # logits far from uniform, so that a wrong target would be seen
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(20.0)
    return model


def token_files(folder, documents):
    with write_indexed(folder / "test", np.uint16) as writer:
        for document in documents:
            writer.add(np.array([*document, END]), np.array([len(document) + 1]))
    return open_indexed(folder / "test")


@pytest.fixture
def documents(tmp_path):
    random = np.random.default_rng(0)
    return token_files(tmp_path, [random.integers(1, 50, length) for length in (5, 17, 40, 1, 9)])


def measure(model, documents, batch_size=4, length=16, text_bytes=300):
    return held_out_loss(
        model,
        documents,
        end_of_document=END,
        sequence_length=length,
        text_bytes=text_bytes,
        batch_size=batch_size,
        label="test",
    )


def test_every_token_is_predicted_once_and_windows_share_one_token():
    stream = np.arange(1, 34)
    cut = windows(stream, END, 16)
    assert [len(window) for window in cut] == [17, 17, 2]
    assert cut[0][0] == END
    assert np.concatenate([window[1:] for window in cut]).tolist() == stream.tolist()
    assert cut[1][0] == cut[0][-1]
    assert windows(np.arange(1, 33), END, 16)[-1].size == 17  # nothing is left over
    assert windows(np.empty(0, np.int64), END, 16) == []


def test_loss_is_that_of_a_direct_computation(documents):
    model = tiny_model()
    stream = [END, *np.asarray(documents.tokens).tolist()]
    direct, means, nats_of_all = 0.0, [], []
    for at in range(0, len(stream) - 1, 16):
        part = torch.tensor([stream[at : at + 17]])
        with torch.no_grad():
            logits = model(part[:, :-1]).logits.double().log_softmax(-1)[0]
        nats = [-float(logits[place, token]) for place, token in enumerate(part[0, 1:].tolist())]
        direct += sum(nats)
        nats_of_all += nats
        means.append(sum(nats) / len(nats))
    result = measure(model, documents)
    tokens = 5 + 17 + 40 + 1 + 9 + 5
    assert result["tokens"] == tokens == documents.tokens.size
    assert result["loss"] == pytest.approx(direct / tokens, abs=1e-5)
    assert result["sequence_losses"] == pytest.approx(means, abs=1e-4)
    assert max(nats_of_all) - min(nats_of_all) > 2  # far from uniform: with another target the check would fail
    assert result["perplexity"] == pytest.approx(math.exp(result["loss"]))


def test_batch_size_changes_nothing(documents):
    model = tiny_model()
    one, many = measure(model, documents, batch_size=1), measure(model, documents, batch_size=64)
    assert one["loss"] == pytest.approx(many["loss"], abs=1e-6)
    assert one["sequence_tokens"] == many["sequence_tokens"]


def test_bits_per_byte():
    # 3 tokens of 2 ln 2 nats each are 6 bits; in 4 bytes of text that is 1.5 bits per byte.
    result = summary(np.array([2 * math.log(2), 4 * math.log(2)]), np.array([1, 2]), 4, "test")
    assert result["loss"] == pytest.approx(2 * math.log(2))
    assert result["bits_per_byte"] == pytest.approx(1.5)
    assert result["perplexity"] == pytest.approx(4.0)
    assert result["loss_stderr"] == pytest.approx(0.0)


def test_standard_error_of_equal_sequences_is_the_textbook_one():
    random = np.random.default_rng(3)
    means = random.normal(4, 0.5, 30)
    expected = means.std(ddof=1) / math.sqrt(30)
    assert ratio_stderr(means * 7, np.full(30, 7)) == pytest.approx(expected)
    assert ratio_stderr(means[:1], np.ones(1)) is None


def test_standard_error_covers_the_truth():
    random = np.random.default_rng(4)
    hits = 0
    for _ in range(300):
        counts = random.integers(5, 20, 60)
        sums = counts * 3.0 + random.normal(0, 1, 60) * np.sqrt(counts)
        error = ratio_stderr(sums, counts)
        hits += abs(sums.sum() / counts.sum() - 3.0) < 2 * error
    assert 0.90 < hits / 300 < 0.99


def test_broken_checkpoint_and_empty_split_are_errors(documents, tmp_path):
    model = tiny_model()
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    with pytest.raises(InputError, match="broken"):
        measure(model, documents)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no tokens"):
        measure(tiny_model(), token_files(tmp_path / "empty", []))
