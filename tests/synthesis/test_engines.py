"""Engines by name: one is loaded once, and is gone before another one comes."""

from __future__ import annotations

import dataclasses
import importlib.util
import weakref

import pytest

from megatron_sbp.base.errors import InputError
from megatron_sbp.recipe import Vllm
from megatron_sbp.synthesis.engine import Engine, EngineSettings, StreamingEngine
from megatron_sbp.synthesis.engines import load_engine
from megatron_sbp.synthesis.transformers_engine import TransformersEngine

END, PADDING, SEPARATOR, VOCABULARY = 0, 1, 2, 90


@pytest.fixture(scope="module")
def settings(tmp_path_factory, random_model) -> EngineSettings:
    folder = tmp_path_factory.mktemp("model")
    random_model(folder, VOCABULARY, END, 15)
    return EngineSettings(folder, "one", END, (PADDING, SEPARATOR), 0.9, 0.95, 20, seed=7, device="cpu")


def test_an_engine_is_loaded_once(settings):
    first = load_engine("transformers", settings)
    assert isinstance(first, TransformersEngine) and not isinstance(first, StreamingEngine)
    assert first.settings == settings
    assert load_engine("transformers", dataclasses.replace(settings)) is first


def test_other_weights_in_the_same_folder_are_another_engine(settings):
    first = load_engine("transformers", settings)
    other = load_engine("transformers", dataclasses.replace(settings, weights="other"))
    assert other is not first and other.settings.weights == "other"


def test_an_engine_is_gone_when_another_one_comes(settings):
    gone = weakref.ref(load_engine("transformers", settings))
    other = load_engine("transformers", dataclasses.replace(settings, seed=8))
    assert gone() is None and load_engine("transformers", dataclasses.replace(settings, seed=8)) is other


def test_an_engine_that_does_not_load_is_not_kept(settings):
    broken = dataclasses.replace(settings, checkpoint=settings.checkpoint / "nothing here")
    for _ in range(2):
        with pytest.raises(InputError, match="cannot load this checkpoint"):
            load_engine("transformers", broken)
    engine: Engine = load_engine("transformers", settings)
    assert engine.settings == settings


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is installed")
def test_vllm_is_asked_for_by_name(settings):
    with pytest.raises(InputError, match=r"'synthesis.engine': vLLM is not installed"):
        load_engine("vllm", dataclasses.replace(settings, vllm=Vllm()))
