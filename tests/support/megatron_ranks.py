"""Real Megatron on CPU ranks for the tests: documents of token ids, flags of a small model, and a way to train it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
VOCABULARY = 300
END, PADDING, SEPARATOR = 0, 1, 2


def markov_documents(count: int, seed: int, low: int = 10, high: int = 90) -> list[list[int]]:
    """Documents from a sparse Markov chain over ids 3..VOCABULARY-1, so that a model has something to learn."""
    rng = np.random.default_rng(seed)
    follow = np.random.default_rng(7).integers(3, VOCABULARY, size=(VOCABULARY, 4))
    documents = []
    for _ in range(count):
        tokens = [int(rng.integers(3, VOCABULARY))]
        for _ in range(int(rng.integers(low, high))):
            tokens.append(int(follow[tokens[-1], rng.integers(4)]))
        documents.append(tokens)
    return documents


def write_indexed(prefix: Path, documents: list[list[list[int]]]) -> None:
    """Writes an IndexedDataset with Megatron's own builder; a document is a list of sequences."""
    import torch
    from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder

    builder = IndexedDatasetBuilder(f"{prefix}.bin", dtype=np.uint16)
    for sequences in documents:
        builder.add_document(torch.tensor([t for s in sequences for t in s]), [len(s) for s in sequences])
    builder.finalize(f"{prefix}.idx")


def make_corpus(folder: Path) -> Path:
    """Fills a folder with real, synthetic, valid, pairs and valid_pairs datasets, and a tokenizer; returns it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    for name, count, seed in (("real", 120, 1), ("synthetic", 90, 2), ("valid", 60, 3)):
        write_indexed(folder / name, [[[*tokens, END]] for tokens in markov_documents(count, seed)])
    for name, count, seed in (("pairs", 120, 4), ("valid_pairs", 40, 5)):
        seeds, targets = markov_documents(count, seed, 5, 40), markov_documents(count, seed + 100, 5, 40)
        write_indexed(folder / name, [[one, [*other, END]] for one, other in zip(seeds, targets, strict=True)])
    vocabulary = {"<|endoftext|>": END, "<|padding|>": PADDING, "<|related|>": SEPARATOR}
    for symbol in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocabulary[symbol] = len(vocabulary)
    while len(vocabulary) < VOCABULARY:
        vocabulary[f"unused{len(vocabulary)}"] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|endoftext|>", pad_token="<|padding|>"
    ).save_pretrained(folder / "tokenizer")
    roles = {"end_of_document": "<|endoftext|>", "padding": "<|padding|>", "separator": "<|related|>"}
    (folder / "tokenizer" / "roles.json").write_text(json.dumps(roles))
    return folder


MODEL = (
    "--num-layers 2 --hidden-size 32 --ffn-hidden-size 64 --num-attention-heads 4 --group-query-attention "
    "--num-query-groups 2 --kv-channels 8 --qk-layernorm --swiglu --normalization RMSNorm --disable-bias-linear "
    "--position-embedding-type rope --rotary-base 500000 --max-position-embeddings 96 --attention-dropout 0 "
    "--hidden-dropout 0 --init-method-std 0.05 --spec megatron_sbp.training.megatron.layer_spec layer_spec"
).split()

LOOP = (
    "--seq-length 96 --micro-batch-size 2 --global-batch-size 8 --lr 3e-3 --min-lr 3e-4 --lr-decay-style cosine "
    "--lr-warmup-samples 8 --ckpt-format torch_dist --exit-signal-handler --log-interval 1 --eval-interval 5 "
    "--eval-iters 1 --save-interval 1000 --seed 1 --tokenizer-type HuggingFaceTokenizer"
).split()


class Megatron:
    """Trains with `megatron_sbp.training.pretrain` and reads what was written."""

    device = "cpu"

    def __init__(self, corpus: Path, folder: Path):
        self.corpus, self.folder = corpus, folder

    def data(self, name: str, sources: dict[str, int], kind: str = "documents", epochs: str = "strict") -> Path:
        """Writes the data file of training `name`; sources are samples by dataset."""
        from megatron_sbp.training.data.data_file import DataFile, Source

        target = self.folder / name
        target.mkdir(parents=True, exist_ok=True)

        def prefix(dataset: str) -> str:
            return os.path.relpath(self.corpus / dataset, target)

        DataFile(
            kind=kind,  # type: ignore[arg-type]
            train=[Source(s, prefix(s), count, s == "synthetic") for s, count in sources.items()],
            valid=Source("valid", prefix("valid_pairs" if kind == "pairs" else "valid"), 8),
            sequence_length=96,
            seed=1,
            epochs=epochs,  # type: ignore[arg-type]
            end_of_document=END,
            padding=PADDING,
            separator=SEPARATOR,
        ).write(target / "data.json")
        return target

    def arguments(self, name: str, samples: int, *flags: str) -> list[str]:
        """Megatron's flags of training `name`."""
        target = self.folder / name
        files = ["--sbp-data", str(target / "data.json"), "--load", str(target), "--save", str(target)]
        files += ["--tokenizer-model", str(self.corpus / "tokenizer")]
        length = ["--train-samples", str(samples), "--lr-decay-samples", str(samples)]
        return [*files, "--sbp-device", self.device, *MODEL, *LOOP, *length, *flags]

    def command(self, name: str, samples: int, *flags: str, ranks: int = 1) -> list[str]:
        """The command of a user that trains `name`: torchrun."""
        start = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "1", "--standalone"]
        start += ["--nproc-per-node", str(ranks), "-m", "megatron_sbp.training.pretrain"]
        return [*start, *self.arguments(name, samples, *flags)]

    def environment(self) -> dict[str, str]:
        """Environment variables of torchrun and the ranks."""
        return environment()

    def train(self, name: str, samples: int, *flags: str, ranks: int = 1, status: int = 0) -> str:
        """Trains by torchrun and returns the output; fails the test when the exit status is another one."""
        done = subprocess.run(
            self.command(name, samples, *flags, ranks=ranks),
            env=self.environment(), capture_output=True, text=True, timeout=500,
        )  # fmt: skip
        output = done.stdout + done.stderr
        assert done.returncode == status, output[-4000:]
        return output

    def losses(self, name: str, kind: str = "train") -> dict[int, float]:
        """Loss by iteration."""
        rows = map(json.loads, (self.folder / name / "metrics.jsonl").read_text().splitlines())
        return {row["iteration"]: row["loss"] for row in rows if row["kind"] == kind}


class ServedMegatron(Megatron):
    """The same on ranks that the rank server forks, at a fraction of torchrun's time.

    Exit statuses are those of the ranks: 3, not torchrun's 0, when a training stopped before its end.
    """

    def __init__(self, corpus: Path, folder: Path, server: subprocess.Popen):
        super().__init__(corpus, folder)
        self.server = server

    def train(  # type: ignore[override]
        self, name: str, samples: int, *flags: str, ranks: int = 1, status: int = 0, began: float = 0
    ) -> str:
        """Trains and returns the output; fails the test when the exit status is another one.

        The ranks come from the rank server: `command` is the same by torchrun.
        """
        output = self.folder / f"{name}.log"
        arguments = [*self.arguments(name, samples, *flags), "--sbp-die-with-parent"]
        found = serve(self.server, arguments, output, ranks, began)
        text = output.read_text()
        assert found == status, f"exit status {found}: {text[-4000:]}"
        return text


def serve(
    server: subprocess.Popen,
    arguments: list[str],
    output: Path,
    ranks: int = 1,
    began: float = 0,
    program: str | None = None,
) -> int:
    """Has the rank server train, or run another program; returns the exit status. Paths are absolute."""
    output.unlink(missing_ok=True)
    job = {"arguments": arguments, "ranks": ranks, "output": str(output), "timeout": 240, "began": began}
    if program is not None:
        job["program"] = program
    server.stdin.write(json.dumps(job) + "\n")
    server.stdin.flush()
    return int(server.stdout.readline())


def environment() -> dict[str, str]:
    """Environment of the ranks: one thread each."""
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "CUDA_DEVICE_MAX_CONNECTIONS": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "WANDB_MODE": "offline",
    }


@pytest.fixture(scope="session")
def rank_server():
    """tests/support/rank_server.py, for all tests of this process."""
    program = str(Path(__file__).with_name("rank_server.py"))
    with open(os.devnull, "w") as nowhere:
        server = subprocess.Popen(
            [sys.executable, "-W", "ignore", program],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=nowhere,
            text=True,
        )
    assert server.stdout.readline() == "ready\n"
    yield server
    server.stdin.close()
    server.wait(timeout=30)


@pytest.fixture(scope="session")
def run_beside_megatron(rank_server, tmp_path_factory):
    """Runs a program in a process of its own that has the CPU backend and has imported Megatron; gives its output."""
    output = tmp_path_factory.mktemp("programs") / "output"

    def run(program: str, *arguments: object) -> str:
        status = serve(rank_server, [str(word) for word in arguments], output, program=program)
        text = output.read_text()
        assert status == 0, f"exit status {status}: {text[-6000:]}"
        return text

    return run
