"""What the training benchmarks share: made-up tokens, the command line of a real training run, and Megatron's own log.

Random ids cost a training step what real text costs: the same products, the same loss. No tokenizer is needed for them,
so Megatron's NullTokenizer is enough.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from megatron_sbp.recipe import Recipe, load_recipe
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.training_stage import arguments_of
from megatron_sbp.training.data.data_file import DataFile, Source
from megatron_sbp.training.launch import MODULE

ROOT = Path(__file__).resolve().parents[1]
END, PADDING, SEPARATOR = 0, 1, 2
MEAN_TOKENS = 828
"""Of a document: the corpus of the paper has about as many (docs/paper.md)."""


class TrainingFailed(Exception):
    """A training run that ended with an error; carries the end of what it said."""


@dataclass
class Log:
    """What Megatron printed: the wall time of every step, its own TFLOP/s, and the allocator's peak."""

    text: str
    seconds: list[float] = field(default_factory=list)
    """Of every step, in order."""
    tflops: list[float] = field(default_factory=list)
    """Megatron's figure of every step, per device."""
    peak_bytes: int = 0
    """Largest allocation so far on the device; 0 on a CPU."""

    @staticmethod
    def of(text: str) -> Log:
        """Reads the lines of a training run with --log-interval 1, --log-throughput and --log-memory-interval."""
        seconds = [float(value) / 1000 for value in re.findall(r"elapsed time per iteration \(ms\): ([\d.]+)", text)]
        tflops = [float(value) for value in re.findall(r"throughput per GPU \(TFLOP/s/GPU\): ([\d.]+)", text)]
        peaks = [float(value) for value in re.findall(r"max allocated: ([\d.]+)", text)]
        return Log(text, seconds, tflops, round(max(peaks, default=0) * 2**20))

    def median(self, warm_up: int) -> float:
        """Median seconds of the steps after the first `warm_up`."""
        return statistics.median(self.seconds[warm_up:])


def recipe_of(
    path: str,
    *,
    steps: int,
    micro_batch: int,
    micro_batches: int,
    vocabulary: int,
    shape: dict[str, int],
    overrides: Sequence[str] = (),
) -> Recipe:
    """A recipe of examples/ for one rank, `steps` steps on made-up tokens, without checkpoints and evaluations.

    Args:
        path: recipe, below the repository.
        steps: optimizer steps.
        micro_batch: sequences in a forward pass.
        micro_batches: forward passes in a step.
        vocabulary: ids of the made-up tokens.
        shape: fields of the recipe's `model` that are replaced.
        overrides: further KEY=VALUE.
    """
    recipe = load_recipe(ROOT / path, ["launch.nodes=1", "launch.ranks_per_node=1", *overrides])
    recipe.model = recipe.model.model_copy(update=shape)
    recipe.training.micro_batch_size = micro_batch
    recipe.training.global_batch_size = micro_batch * micro_batches
    recipe.training.train_tokens = steps * micro_batch * micro_batches * recipe.model.sequence_length
    recipe.training.log_interval = 1
    recipe.training.megatron = {
        **recipe.training.megatron,
        "tokenizer-type": "NullTokenizer", "tokenizer-model": None, "vocab-size": vocabulary,
        "load": None, "save": None, "save-interval": None, "exit-signal-handler": None, "eval-iters": 0,
        "log-memory-interval": 1,
    }  # fmt: skip
    return recipe


def write_tokens(prefix: Path, sequences: list[list[int]], vocabulary: int, seed: int) -> None:
    """An IndexedDataset of random ids; `sequences` holds the lengths of every document's sequences."""
    import torch
    from megatron.core.datasets.indexed_dataset import DType, IndexedDatasetBuilder

    prefix.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    builder = IndexedDatasetBuilder(f"{prefix}.bin", dtype=DType.optimal_dtype(vocabulary))
    for lengths in sequences:
        tokens = random.integers(SEPARATOR + 1, vocabulary, sum(lengths))
        tokens[-1] = END
        builder.add_document(torch.from_numpy(tokens), lengths)
    builder.finalize(f"{prefix}.idx")


def write_data(run: Run, training: str, tokens: int, vocabulary: int) -> None:
    """Tokens and the data file of a training run, in the folders of `run`.

    Args:
        run: of `recipe_of`.
        training: `baseline` (one source), `sbp` (a blend of two) or `synthesizer` (packed pairs).
        tokens: unique ones, of all sources together.
        vocabulary: ids.
    """
    recipe, random = run.recipe, np.random.default_rng(7)
    length = recipe.model.sequence_length
    samples = recipe.training.train_tokens // length
    kind = "pairs" if training == "synthesizer" else "documents"
    names = {"baseline": ["real"], "sbp": ["real", "synthetic"], "synthesizer": ["pairs"]}[training]
    # Documents of all lengths, as real ones are; what is longer than the window of a pair is cut, as the tuning does.
    longest = (length - 1) // 2 if kind == "pairs" else 20 * MEAN_TOKENS
    mean = min(MEAN_TOKENS, length // 4)
    counts = np.clip(random.lognormal(np.log(mean) - 0.5, 1.0, 2 * tokens // mean), 8, longest).astype(int).tolist()
    shares = [samples - samples // 4, samples // 4] if len(names) == 2 else [samples]
    for place, name in enumerate([*names, "valid"]):
        mine = counts[place :: len(names) + 1]
        pairs = [[one, other] for one, other in zip(mine[::2], mine[1::2], strict=False)]
        write_tokens(run.tokens(name), pairs if kind == "pairs" else [[n] for n in mine], vocabulary, place)

    def source(name: str, count: int) -> Source:
        return Source(name, os.path.relpath(run.tokens(name), run.model(training)), count, False)

    DataFile(
        kind=kind,  # type: ignore[arg-type]
        train=[source(name, share) for name, share in zip(names, shares, strict=True)],
        valid=source("valid", recipe.training.global_batch_size),
        sequence_length=length,
        seed=1,
        epochs="strict",
        end_of_document=END,
        padding=PADDING,
        separator=SEPARATOR,
    ).write(run.model(training) / "data.json")


def words_of(run: Run, training: str) -> list[str]:
    """Megatron's flags: those of the arms, for packed pairs too, so that only the data differs."""
    run.model(training).mkdir(parents=True, exist_ok=True)
    words = arguments_of(run, "baseline")
    words[words.index("--sbp-data") + 1] = str(run.model(training) / "data.json")
    return words


def start(
    words: list[str], device: str, threads: int, log: Path, *, program: Sequence[str] = (), ranks: int = 1
) -> subprocess.Popen[bytes]:
    """Starts a training run by torchrun, as users do; `finish` waits for it.

    Args:
        words: Megatron's flags.
        device: cpu or cuda.
        threads: of the rank.
        log: file for what it says.
        program: words instead of `-m megatron_sbp.training.pretrain`.
        ranks: processes.
    """
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "1", "--standalone"]
    command += ["--nproc-per-node", str(ranks)]
    environment: dict[str, str] = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "CUDA_DEVICE_MAX_CONNECTIONS": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
    }
    with open(log, "wb") as output:
        return subprocess.Popen(
            [*command, *(program or ["-m", MODULE, "--sbp-device", device]), *words],
            env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip


def finish(process: subprocess.Popen[bytes], log: Path, timeout: float) -> Log:
    """Waits for a training run.

    Raises:
        TrainingFailed: it ended with an error, or takes longer than `timeout` seconds and was ended.
    """
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        stop(process)
        raise TrainingFailed(f"not finished after {timeout:.0f} s: {log.read_text()[-1500:]}") from None
    text = log.read_text()
    if process.returncode != 0:
        causes = [line for line in text.splitlines() if "Error" in line and "ChildFailedError" not in line]
        raise TrainingFailed("\n".join([*causes[-3:], text[-3000:]]))
    return Log.of(text)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends a training run with all its processes."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
