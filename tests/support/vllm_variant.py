"""Runs in the environment that has vLLM: writes what the engine with some options does, for tests/gpu.

python vllm_variant.py PLAN.json RESULT.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from vllm_texts import shard, texts  # a program's own folder is where it looks first

from megatron_sbp.recipe import Vllm
from megatron_sbp.synthesis.engine import EngineSettings
from megatron_sbp.synthesis.engines import load_engine
from megatron_sbp.synthesis.generations import Generation


def main() -> None:
    plan = json.loads(Path(sys.argv[1]).read_text())
    settings = EngineSettings(
        Path(plan["checkpoint"]), "", plan["end"], tuple(plan["forbidden"]), 0.9, 0.95, 20, 7, vllm=Vllm(**plan["vllm"])
    )
    engine = load_engine("vllm", settings)
    prompts = [np.array(prompt) for prompt in plan["prompts"]]
    generations = [Generation(row, row % 3) for row in range(len(prompts))]
    many = [Generation(5, number) for number in range(plan["draws"])]
    result = {
        "greedy": texts(engine, generations, prompts, top_p=1e-6),
        "sampled": texts(engine, generations, prompts),
        "alone": [texts(engine, [one], [prompt])[0] for one, prompt in zip(generations, prompts, strict=True)],
        "drawn": texts(engine, many, prompts[:1] * len(many), max_new_tokens=1),
    }
    del engine  # the next one comes when this one is gone
    if plan["run"]:
        result["shard"] = shard(plan["run"], "launch.device=auto")
    Path(sys.argv[2]).write_text(json.dumps(result))


if __name__ == "__main__":
    main()
