"""Runs in the environment that has vLLM: writes what its engine does to a JSON file, for test_vllm_engine.py.

    python vllm_texts.py PLAN.json RESULT.json

One process for everything, since most of the time is vLLM's start.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.recipe import Vllm, load_recipe
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.synthesis import streaming, vllm_arguments, vllm_engine
from megatron_sbp.synthesis.engine import EngineSettings, StreamingEngine
from megatron_sbp.synthesis.engines import load_engine
from megatron_sbp.synthesis.generations import Generation
from megatron_sbp.synthesis.synthesizer import write_all
from megatron_sbp.synthesis.unfinished import Unfinished

SAID: list[str] = []
vllm_engine.say = SAID.append


class Killed(Exception):
    """Stands for SIGKILL: nothing behind it runs."""


def texts(engine, generations, prompts, **other) -> list:
    """Tokens and `finished` of every text, in the order of the prompts, with other settings of sampling."""
    usual = engine.settings
    engine.settings = dataclasses.replace(usual, **other)
    try:
        written = write_all(engine, generations, prompts, batch_size=64)
    finally:
        engine.settings = usual
    return [[text.tokens.tolist(), text.finished] for text in written]


def message(call) -> str:
    """Of the InputError that a call ends with."""
    try:
        call()
    except InputError as error:
        return str(error)
    return "no error"


def out_of_memory(settings, generations, prompts) -> dict:
    """Allocations that fail while texts are being written, once and then again; the failures are torch's own."""
    engine = load_engine("vllm", settings)
    before = engine.model.llm_engine.vllm_config.scheduler_config.max_num_seqs
    asked: list[int] = []

    def fail_at(call: int) -> None:
        step, calls = engine.model.llm_engine.step, itertools.count(1)

        def failing():
            if next(calls) == call:
                asked.append(engine.model.llm_engine.get_num_unfinished_requests())
                torch.empty(1 << 50)
            return step()

        engine.model.llm_engine.step = failing

    SAID.clear()
    fail_at(8)
    found = {"texts": texts(engine, generations, prompts), "said": SAID.copy(), "before": before}
    found["after"] = engine.model.llm_engine.vllm_config.scheduler_config.max_num_seqs
    fail_at(8)
    found["again"] = message(partial(list, engine.stream(generations, prompts)))
    return {**found, "unfinished": asked, "said_again": SAID[len(found["said"]) :]}


def drafted(settings, generations, prompts) -> list:
    """Texts with n-grams drafted ahead, where tokens are forbidden through a private field of vLLM's.

    The recipe may not ask this build for it: it rounds temperature and top_p to whole numbers, which changes no 1."""
    usual, tokens = vllm_engine.engine_arguments, {**vllm_arguments._NGRAM, "num_speculative_tokens": 3}
    vllm_engine.engine_arguments = lambda _, cpu: {**usual(settings, cpu), "speculative_config": tokens}
    try:
        ahead = dataclasses.replace(settings, temperature=1.0, top_p=1.0, vllm=Vllm(speculative_tokens=3))
        repeating = [np.array([*prompt[:-1][:3].tolist() * 4, prompt[-1]]) for prompt in prompts]
        return texts(load_engine("vllm", ahead), generations, repeating)
    finally:
        vllm_engine.engine_arguments = usual


def shard(folder: str, *overrides: str) -> dict:
    """A stage whose process dies between two saves, and runs again; how often each generation was asked for."""
    from megatron_sbp.executor.runner import StageRunner
    from megatron_sbp.stages.synthesize import SynthesizeStage
    from megatron_sbp.stages.synthetic_writer import synthesizer_of

    streaming.KEPT_TEXTS = 8
    recipe = load_recipe(
        Path(folder) / "recipe.yaml", [f"run_folder={folder}/run", "synthesis.engine=vllm", *overrides]
    )
    run, stage = Run.of(recipe), SynthesizeStage()
    engine = synthesizer_of(run).engine
    asked: list[str] = []
    stream, add = type(engine).stream, Unfinished.add

    def counting(self, generations, prompts):
        asked.extend(generation.name for generation in generations)
        return stream(self, generations, prompts)

    def dying(self, places, written):
        add(self, places, written)
        saved.append(len(places))
        if len(saved) == 2:
            raise Killed

    type(engine).stream = counting
    saved: list[int] = []
    died = False
    Unfinished.add = dying
    try:
        StageRunner(run, stage, [stage]).execute()
    except Killed:
        died = True
    Unfinished.add = add
    before = len(asked)
    lines = [json.loads(line) for file in run.generations.glob(".*") for line in file.read_text().splitlines()[1:]]
    done = StageRunner(run, stage, [stage]).execute()
    type(engine).stream = stream
    rows = [row for file in sorted(run.generations.glob("0*")) for row in files.read_jsonl_zst(file)]
    return {
        "died": died,
        "done": done,
        "first": asked[:before],
        "kept": sum(len(line.get("places", ())) for line in lines),
        "again": asked[before:],
        "rows": rows,
        "left": [file.name for file in run.generations.glob(".*")],
    }


def main() -> None:
    plan = json.loads(Path(sys.argv[1]).read_text())
    settings = EngineSettings(
        Path(plan["checkpoint"]), "", plan["end"], tuple(plan["forbidden"]), 0.9, 0.95, 20, 7, vllm=Vllm()
    )
    engine = load_engine("vllm", settings)
    prompts = [np.array(prompt) for prompt in plan["prompts"]]
    generations = [Generation(row, row % 3) for row in range(len(prompts))]
    others = [Generation(generation.row, generation.number + 1) for generation in generations]
    many = [Generation(5, number) for number in range(plan["draws"])]
    result = {
        "streams": isinstance(engine, StreamingEngine),
        "greedy": texts(engine, generations, prompts, top_p=1e-6),
        "sampled": texts(engine, generations, prompts),
        "again": texts(engine, generations, prompts),
        "others": texts(engine, others, prompts),
        "other_run": texts(engine, generations, prompts, seed=8),
        "drawn": texts(engine, many, prompts[:1] * len(many), max_new_tokens=3),
        "none": list(engine.stream([], [])),
        "too_long": message(partial(list, engine.stream(many[:1], [np.full(plan["context"] - 19, 5)]))),
    }
    unfinished = engine.stream(generations, prompts)
    next(unfinished)
    unfinished.close()
    result["left_running"] = engine.model.llm_engine.get_num_unfinished_requests()
    result["after_abort"] = texts(engine, generations, prompts)
    del engine, unfinished  # the next one comes when this one is gone
    result["out_of_memory"] = out_of_memory(
        dataclasses.replace(settings, vllm=Vllm(max_num_seqs=16)), generations, prompts
    )
    result["drafted"] = drafted(settings, generations, prompts)
    result["shard"] = shard(plan["run"])
    shipped = plan["shipped"]
    greedy = dataclasses.replace(
        settings, checkpoint=Path(shipped["checkpoint"]), end_of_document=shipped["end"],
        forbidden=tuple(shipped["forbidden"]), top_p=1e-6, max_new_tokens=shipped["new"],
    )  # fmt: skip
    seeds = [np.array(prompt) for prompt in shipped["prompts"]]
    written = write_all(
        load_engine("vllm", greedy), [Generation(row, 0) for row in range(len(seeds))], seeds, batch_size=64
    )
    result["shipped"] = [[text.tokens.tolist(), text.finished] for text in written]
    refused = {
        "memory": {"vllm": Vllm(gpu_memory=0.999, max_num_seqs=6)},
        "cache": {"vllm": Vllm(gpu_memory=1e-6)},
        "chunked": {"vllm": Vllm(chunked_prefill=True)},
        "guessing": {"vllm": Vllm(speculative_tokens=2)},
        "device": {"device": "cuda"},
    }
    for name, other in refused.items():
        SAID.clear()
        result[name] = message(partial(load_engine, "vllm", dataclasses.replace(settings, **other)))
        result[f"said_{name}"] = SAID.copy()
    result["megatron"] = any(name.split(".")[0] == "megatron" for name in sys.modules)
    Path(sys.argv[2]).write_text(json.dumps(result))


if __name__ == "__main__":
    main()
