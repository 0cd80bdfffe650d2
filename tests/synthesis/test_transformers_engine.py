"""Generation with a cache and shrinking batches, against generation without either."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import resource
from pathlib import Path

import numpy as np
import pytest
import torch

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.synthesis import transformers_engine
from megatron_sbp.synthesis.engine import EngineSettings
from megatron_sbp.synthesis.generations import Generation, batches, generations
from megatron_sbp.synthesis.token_sampling import sample, stream_keys, uniforms
from megatron_sbp.synthesis.transformers_engine import TransformersEngine, prefill_groups

END, PADDING, SEPARATOR, VOCABULARY = 0, 1, 2, 90


@pytest.fixture(scope="module", params=["Qwen3", "Llama"])
def settings(request, tmp_path_factory, random_model) -> EngineSettings:
    folder = tmp_path_factory.mktemp(request.param)
    random_model(folder, VOCABULARY, END, 15, request.param)
    return EngineSettings(folder, request.param, END, (PADDING, SEPARATOR), 0.9, 0.95, 20, seed=7, device="cpu")


def prompts_of(count: int, low: int, high: int) -> tuple[list[Generation], list[np.ndarray]]:
    random = np.random.default_rng(2)
    prompts = [random.integers(3, VOCABULARY, length) for length in random.integers(low, high + 1, count)]
    return [Generation(row, row % 3) for row in range(count)], [np.append(prompt, SEPARATOR) for prompt in prompts]


def without_cache(
    model, settings: EngineSettings, generation: Generation, prompt: np.ndarray
) -> tuple[list[int], bool]:
    """One text alone, the whole sequence through the model for every token."""
    tokens, key = prompt.tolist(), stream_keys([generation], settings.seed)
    for position in range(settings.max_new_tokens):
        with torch.no_grad():
            logits = model(torch.tensor([tokens])).logits[:, -1].clone()
        logits[:, list(settings.forbidden)] = float("-inf")
        token = sample(logits, torch.from_numpy(uniforms(key, position)), settings.temperature, settings.top_p).item()
        if token == settings.end_of_document:
            return tokens[len(prompt) :], True
        tokens.append(token)
    return tokens[len(prompt) :], False


def test_the_texts_are_those_without_cache_and_batch(settings):
    """Prompts of 1 to 60 tokens in one batch that shrinks: every text as if it had been written alone."""
    from transformers import AutoModelForCausalLM

    generations, prompts = prompts_of(24, 1, 60)
    written = TransformersEngine(settings).write(generations, prompts)
    model = AutoModelForCausalLM.from_pretrained(settings.checkpoint, attn_implementation="eager").eval()
    for generation, prompt, text in zip(generations, prompts, written, strict=True):
        tokens, finished = without_cache(model, settings, generation, prompt)
        assert (text.tokens.tolist(), text.finished) == (tokens, finished)
    lengths = [len(text.tokens) for text in written]
    assert min(lengths) < 6 and max(lengths) == settings.max_new_tokens  # the batch did shrink
    assert {text.finished for text in written} == {True, False}
    assert all(text.finished == (len(text.tokens) < settings.max_new_tokens) for text in written)
    assert not any(np.isin(text.tokens, [END, PADDING, SEPARATOR]).any() for text in written)


def padding(lengths: np.ndarray, groups: list[list[int]]) -> tuple[int, int]:
    """Places of padding, and all places, in the batches of these prompts."""
    places = sum(max(lengths[group]) * len(group) for group in groups)
    return places - sum(lengths[group].sum() for group in groups), places


@pytest.mark.parametrize(("limit", "size"), [(200, 64), (1024, 64), (200, 256)])
def test_hardly_anything_that_is_read_is_padding(texts, tokenizer, limit, size):
    """FOLDOC, in the quick start's shards of 512 generations."""
    sizes = np.minimum([len(tokens) for tokens in tokenizer.encode_batch(texts)], limit) + 1
    planned = generations(0, 512, len(texts), seed=1)
    lengths = sizes[[generation.row for generation in planned]]
    whole, read = [], []
    for batch in batches(planned, lengths, size):
        groups = prefill_groups(lengths[batch].tolist())
        assert sorted(row for group in groups for row in group) == list(range(len(batch)))
        whole.append(padding(lengths[batch], [list(range(len(batch)))]))
        read.append(padding(lengths[batch], groups))
    (wasted, _), (padded, places) = np.sum(whole, axis=0), np.sum(read, axis=0)
    assert padded / places < 0.05 and padded <= wasted


def test_prompts_of_similar_length_are_read_together():
    assert prefill_groups([100, 98, 99, 97, 96]) == [[0, 1, 2, 3, 4]]
    assert prefill_groups([10, 100, 10, 100, 10, 100, 10, 100]) == [[1, 3, 5, 7], [0, 2, 4, 6]]
    assert prefill_groups([9, 1]) == [[0, 1]]
    assert prefill_groups([7]) == [[0]]


def test_the_groups_of_prompts_change_no_text(settings, monkeypatch):
    batch = prompts_of(40, 1, 90)
    apart = TransformersEngine(settings).write(*batch)
    monkeypatch.setattr(transformers_engine, "PADDED", 1.0)
    together = TransformersEngine(settings).write(*batch)
    assert [text.tokens.tolist() for text in apart] == [text.tokens.tolist() for text in together]


def test_the_cache_grows_and_shrinks(settings, monkeypatch):
    from megatron_sbp.synthesis import cache

    generations, prompts = prompts_of(16, 5, 30)
    expected = TransformersEngine(settings).write(generations, prompts)
    monkeypatch.setattr(cache, "_ROOM", 3)
    again = TransformersEngine(settings).write(generations, prompts)
    assert [text.tokens.tolist() for text in again] == [text.tokens.tolist() for text in expected]


def test_neighbors_in_a_batch_change_nothing_and_threads_no_byte(settings):
    engine = TransformersEngine(settings)
    generations, prompts = prompts_of(20, 10, 14)
    whole = engine.write(generations, prompts)
    halves = engine.write(generations[:9], prompts[:9]) + engine.write(generations[9:], prompts[9:])
    assert [text.tokens.tolist() for text in whole] == [text.tokens.tolist() for text in halves]
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        threads = engine.write(generations, prompts)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert [text.tokens.tolist() for text in whole] == [text.tokens.tolist() for text in threads]


def test_draws_of_one_seed_document_differ(settings):
    engine = TransformersEngine(settings)
    _, prompts = prompts_of(1, 20, 20)
    texts = engine.write([Generation(4, number) for number in range(5)], prompts * 5)
    assert len({tuple(text.tokens.tolist()) for text in texts}) == 5
    other = TransformersEngine(dataclasses.replace(settings, seed=8))
    assert other.write([Generation(4, 0)], prompts)[0].tokens.tolist() != texts[0].tokens.tolist()


def test_bf16_writes(settings):
    engine = TransformersEngine(dataclasses.replace(settings, precision="bf16"))
    assert engine.model.dtype == torch.bfloat16
    assert all(0 < len(text.tokens) <= 20 or text.finished for text in engine.write(*prompts_of(4, 5, 9)))


def test_a_broken_synthesizer_is_named(settings):
    engine = TransformersEngine(settings)
    with torch.no_grad():
        engine.model.model.norm.weight[3] = float("nan")
    with pytest.raises(InputError, match="produces NaN"):
        engine.write(*prompts_of(4, 5, 9))
    with pytest.raises(InputError, match="cannot load this checkpoint"):
        TransformersEngine(dataclasses.replace(settings, checkpoint=settings.checkpoint / "nothing here"))


def with_config(folder: Path, **changes) -> None:
    config = files.read_json(folder / "config.json")
    config.pop("layer_types", None)  # one for each layer
    files.write_json(folder / "config.json", {**config, **changes})


@pytest.fixture
def changed(settings, tmp_path, random_model):
    """Settings for a model of another family, with other values in its config.json."""

    def make(family: str, **changes) -> EngineSettings:
        folder = tmp_path / family
        random_model(folder, VOCABULARY, END, 15, family)
        with_config(folder, **changes)
        return dataclasses.replace(settings, checkpoint=folder)

    return make


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("Mistral", {"sliding_window": 29}),
        ("Qwen2", {"use_sliding_window": True, "sliding_window": 29, "max_window_layers": 1}),
    ],
)
def test_a_text_longer_than_the_model_attends_back_is_refused(changed, family, changes):
    """The masks of this engine are those of full attention."""
    from transformers import AutoModelForCausalLM

    engine = TransformersEngine(changed(family, **changes))
    generations, prompts = prompts_of(4, 8, 8)  # and the separator: 29 tokens with the text
    model = AutoModelForCausalLM.from_pretrained(engine.settings.checkpoint, attn_implementation="eager").eval()
    expected = [without_cache(model, engine.settings, *each) for each in zip(generations, prompts, strict=True)]
    written = engine.write(generations, prompts)
    assert [(text.tokens.tolist(), text.finished) for text in written] == expected
    with pytest.raises(InputError, match=r"last 29 tokens only, and a prompt with its text has up to 30.*engine vllm"):
        engine.write(*prompts_of(4, 9, 9))


def test_a_window_that_no_layer_has_is_none(changed):
    engine = TransformersEngine(changed("Qwen2", sliding_window=9))
    assert len(engine.write(*prompts_of(4, 9, 9))) == 4


def test_attention_of_another_kind_is_refused(changed):
    with pytest.raises(InputError, match="has attn_logit_softcapping, which this engine does not compute"):
        TransformersEngine(changed("Gemma2"))


ON_CPU = (
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate"
)


@pytest.fixture(params=[torch.cuda.OutOfMemoryError("CUDA out of memory."), RuntimeError(ON_CPU), MemoryError()])
def memory(monkeypatch, request):
    """A machine on which so many texts fit at once; the sizes of all batches that were tried."""
    real, state = TransformersEngine._write, {"fits": 100, "tried": []}

    def limited(self, generations, prompts):
        state["tried"].append(len(generations))
        if len(generations) > state["fits"]:
            raise request.param
        return real(self, generations, prompts)

    monkeypatch.setattr(TransformersEngine, "_write", limited)
    return state


def test_short_memory_halves_the_batch_once(settings, memory, capsys):
    engine, batch = TransformersEngine(settings), prompts_of(7, 5, 9)
    expected = engine.write(*batch)
    memory.update(fits=4, tried=[])
    written = engine.write(*batch)
    assert [text.tokens.tolist() for text in written] == [text.tokens.tolist() for text in expected]
    assert memory["tried"] == [7, 3, 4]
    assert "7 texts at once do not fit into memory, trying 3" in capsys.readouterr().err
    memory.update(fits=2, tried=[])
    message = r"'synthesis.batch_size': batches of 3 with texts of up to \d+ tokens do not fit into memory"
    with pytest.raises(InputError, match=message):
        engine.write(*batch)
    assert memory["tried"] == [7, 3]
    memory.update(fits=0, tried=[])
    with pytest.raises(InputError, match="batches of 1 "):
        engine.write(batch[0][:1], batch[1][:1])
    assert memory["tried"] == [1]


@contextlib.contextmanager
def no_more_memory():
    """Inside, this process can map hardly more memory than it has."""
    ctypes.CDLL(None).malloc_trim(0)
    before = resource.getrlimit(resource.RLIMIT_AS)
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + (8 << 20), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def test_a_batch_that_really_does_not_fit_is_one_clear_error(settings, capsys):
    """Half of this batch needs a mask of 164 MB in the first layer."""
    engine = TransformersEngine(settings)
    message = "'synthesis.batch_size': batches of 64 with texts of up to 821 tokens do not fit into memory"
    with no_more_memory(), pytest.raises(InputError, match=message):
        engine.write(*prompts_of(128, 800, 800))
    assert "128 texts at once do not fit into memory, trying 64" in capsys.readouterr().err
    assert len(engine.write(*prompts_of(4, 5, 9))) == 4


def test_other_errors_of_torch_are_not_taken_for_short_memory(settings, monkeypatch):
    def broken(self, generations, prompts):
        raise RuntimeError("expected scalar type Float but found Half")

    monkeypatch.setattr(TransformersEngine, "_write", broken)
    with pytest.raises(RuntimeError, match="expected scalar type"):
        TransformersEngine(settings).write(*prompts_of(4, 5, 9))
