"""Fixtures shared by all tests. Nothing here reaches the network."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Threads of compiled code would spin between two calls, on cores that another test needs: 10 ms of CPU time a call.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import pytest
from hypothesis import HealthCheck, settings
from support.usual_signals import usual_signals

from megatron_sbp.base.collector import collect_as_usual, collect_rarely

collect_rarely()  # while test modules load

pytest_plugins = (
    "support.megatron_ranks", "support.mined_run", "support.slurm_clients", "support.synthesis_run",
    "support.vllm_environment",
)  # fmt: skip
LONG = (
    "end_to_end/test_whole_run.py", "slurm/test_real_slurm.py", "slurm/test_time_limit.py",
    "synthesis/test_vllm_engine.py",
    "training/test_launch.py", "stages/test_synthesize.py", "stages/test_unfinished_shards.py",
    "slurm/test_training_job.py", "test_programs.py",
    "doctor/test_together.py", "training/test_resumed_trainings.py", "slurm/test_rehearsal.py",
    "report/test_browser.py", "training/test_pretrain.py", "stages/test_harness.py", "slurm/test_doctor.py",
    "evaluation/test_harness.py", "training/test_ranks.py", "stages/test_evaluated_quality.py",
    "end_to_end/test_chaos.py", "end_to_end/test_killed_workers.py", "training/test_parallel.py",
    "end_to_end/test_second_round.py", "evaluation/test_judge_of_vllm.py",
    "rehearsal/test_materials.py",
    "training/megatron/test_model_builder.py", "tokenization/test_indexed.py", "base/test_hub.py",
    "stages/test_extending.py", "tools/test_own_pipeline.py",
    "training/megatron/test_cpu.py", "training/megatron/test_rank_end.py", "stages/test_pilot.py",
    "checkpoint/test_initial_weights.py", "rehearsal/test_rehearse.py", "executor/test_replacement.py",
)  # fmt: skip
"""Files that take 15 seconds to 3 minutes. They come first, so that at the end no worker of xdist waits for another.

Those that mostly wait (for Slurm, for the end of a process, for a time-out) alternate with those whose training runs
fill both cores. The others of end_to_end/ need the run that test_whole_run.py makes first."""


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False  # xdist would begin with the files of the most tests


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ranks = {f"tests/{name}": rank for rank, name in enumerate(LONG)}
    items.sort(key=lambda item: ranks.get(item.nodeid.partition("::")[0], len(LONG)))


def pytest_collection_finish() -> None:
    collect_as_usual()


usual_signals()

# The same examples every time; `pytest --hypothesis-profile=search` looks for new ones.
_QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
settings.register_profile("repeatable", deadline=None, derandomize=True, max_examples=100, suppress_health_check=_QUIET)
settings.register_profile("search", deadline=None, max_examples=2000, suppress_health_check=_QUIET)
settings.load_profile("repeatable")
