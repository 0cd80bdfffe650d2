#!/usr/bin/env python3
"""What the executor costs at the size of the paper's largest recipes: a run of 60 million documents without its data.

    python benchmarks/simulated_graph.py                                        # sbp_3b_1t; two minutes
    python benchmarks/simulated_graph.py --documents 600000 --units 60 --inputs 40

The run folder is made by the executor itself: every stage runs, unit by unit, with its real units, fingerprints, locks,
and manifests; only the work is replaced by files of a few bytes under the names that the real ones have. Then the real
commands run on that folder, each in a process of its own:

- `sbp status` and `sbp submit --dry-run`, at several points of the run;
- an array task, up to the moment when its first unit would begin;
- the end of a stage, all of whose units are done: its last task finalizes it.

Seconds are those of wall time and of CPU, memory is the peak of resident memory, mapped files included. The files are
in the page cache; a parallel file system adds a round trip for each of them (`files` says how many are looked at).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "examples" / "sbp_3b_1t" / "recipe.yaml"
TOKENS, PASSING = 828, 662
"""Of a document, and of a generation that pass the filters."""

LATER = ("tokenize", "judge", "filter")
"""Stages whose finalizing is measured; that work is real."""


def overrides(folder: Path, documents: int, units: int) -> list[str]:
    """Sizes of the recipe for so many documents of D, and for so many shards of generations."""
    from megatron_sbp.recipe import load_recipe

    recipe = load_recipe(RECIPE)
    share = documents / recipe.documents.train
    tokens = round(recipe.synthesis.tokens * share)
    return [
        f"run_folder={folder / 'run'}",
        f"embedding.model={folder / 'embedder'}",
        f"documents.inputs=[{folder}/data/*.jsonl.zst]",
        f"documents.train={documents}",
        f"documents.oracle={round((recipe.documents.oracle or 0) * share)}",
        f"synthesis.tokens={tokens}",
        "evaluation.harness.tasks=[]",
        "synthesis.stop=planned",  # what passes cannot be counted in shards without documents
        f"training.train_tokens={round(recipe.training.train_tokens * share)}",
        f"synthesis.generations_per_shard={-(-int(tokens * recipe.synthesis.margin / PASSING + 1) // units)}",
    ]


def small(path: Path, content: bytes = b"-") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def as_json(path: Path, value: Any) -> Path:
    return small(path, json.dumps(value).encode())


class Written:
    """What every stage writes, in place of its work. Functions of the run as the stage sees it, and the unit."""

    def __init__(self, recipe: Any, folder: Path):
        from megatron_sbp.synthesis.audit import Audit

        self.recipe, self.folder = recipe, folder
        audit = Audit(recipe.filter)
        size = recipe.synthesis.generations_per_shard
        audit.counts |= {"generations": size, "generated_tokens": size * TOKENS, "kept": size, "tokens": size * TOKENS}
        self.audit = json.dumps(audit.counted()).encode()
        self.part = self._token_part()

    def _token_part(self) -> dict[str, bytes]:
        import numpy as np

        from megatron_sbp.tokenization.indexed import write_indexed

        prefix = self.folder / "part"
        with write_indexed(prefix, np.uint16) as writer:
            writer.add(np.zeros(8, np.uint16), np.full(2, 4))
        counts = {"documents": 2, "tokens": 8, "bytes": 30, "characters": 30}
        found = {kind: prefix.with_suffix(f".{kind}").read_bytes() for kind in ("bin", "idx")}
        return {**found, "json": json.dumps(counts).encode()}

    def unit(self, verb: str, run: Any, unit: str) -> list[Path]:
        """Files of one unit."""
        split, _, number = unit.partition("-")
        if verb == "documents":
            return [small(run.document_parts / unit / "part.bin")]
        if verb == "tokenizer":
            return self._tokenizer(run)
        if verb in ("tokenize", "tokenize-pairs", "tokenize-synthetic"):
            return [small(run.token_parts(verb) / f"{unit}.{kind}", body) for kind, body in self.part.items()]
        if verb == "embed":
            return [small(run.embeddings(split) / f"{number}.npy")]
        if verb == "neighbors":
            first, _, last = number.partition("-")
            names = range(int(first), int(last or first) + 1)
            return [small(run.neighbors(split) / f"{name:05d}.npz") for name in names]
        if verb == "pairs":
            return [small(run.pair_shards / f"{unit}.{kind}") for kind in ("parquet", "json")]
        if verb == "pilot":
            return [small(run.pilot_shard(unit)), as_json(run.synthetic / "pilot" / f"{unit}.json", {})]
        if verb == "judge-pilot":
            found = {"generations": self.recipe.synthesis.pilot, "tokens_per_generation": PASSING}
            return [as_json(run.pilot_audit, {**found, "written_per_generation": TOKENS})]
        if verb == "synthesize":
            return [small(run.generations / f"{unit}.jsonl.zst")]
        if verb == "judge":
            judged = run.judged(unit)
            return [small(file) for file in (judged.verdicts, judged.digests, judged.signatures, judged.bands)]
        if verb == "deduplicate":
            return [small(run.found(unit))]
        if verb == "filter":
            return [small(run.synthetic_shard(unit)), small(run.shard_audit(unit), self.audit)]
        if verb in ("train-baseline", "tune"):
            model = run.model("baseline" if verb == "train-baseline" else "synthesizer")
            ranks = [small(model / "iter_0119210" / f"__{rank}_0.distcp") for rank in range(256)]
            return [*ranks, as_json(model / "consumed.json", {"export_iteration": 119210})]
        if verb == "export-synthesizer":
            exported = ("model.safetensors", "config.json", "tokenizer.json", "provenance.json")
            return [small(run.export("synthesizer") / name) for name in exported]
        raise ValueError(verb)

    def _tokenizer(self, run: Any) -> list[Path]:
        from megatron_sbp.recipe.sections import Tokenizer
        from megatron_sbp.tokenization.build import build_tokenizer
        from megatron_sbp.tokenization.tokenizer import save_tokenizer

        words = (f"word {number} of a made-up text" for number in range(2000))
        save_tokenizer(run.tokenizer, build_tokenizer(Tokenizer(vocab_size=400), words))
        return sorted(run.tokenizer.iterdir())

    def joint(self, verb: str, run: Any) -> list[Path]:
        """What a stage's last step writes."""
        chosen = self.recipe.documents
        if verb == "documents":
            sizes = {name: getattr(chosen, name) for name in ("train", "oracle", "valid", "test")}
            found = []
            for split, size in sizes.items():
                for number in range(-(-size // chosen.documents_per_shard)):
                    found.append(small(run.documents(split) / f"{number:05d}.jsonl.zst"))
                    found.append(small(run.documents(split) / f"{number:05d}.ids"))
            return [*found, as_json(run.audit_documents, {})]
        if verb == "neighbors":
            return [as_json(run.audit_neighbors, {})]
        if verb == "pairs":
            pairs = {"train": 4 * chosen.train, "valid": 4 * chosen.valid}
            return [*(rows(run.pairs(split), count) for split, count in pairs.items()), as_json(run.audit_pairs, {})]
        if verb == "tokenize-pairs":
            count = 4 * chosen.train
            counted = {"pairs": count, "seed_tokens": count * TOKENS, "target_tokens": count * TOKENS}
            audit = as_json(run.audit_tokens("pairs_audit"), {"pairs": {**counted, "mean_target_tokens": TOKENS}})
            prefixes = [run.tokens(name) for name in ("pairs", "valid_pairs")]
            return [audit, *(small(prefix.with_suffix(f".{kind}")) for prefix in prefixes for kind in ("bin", "idx"))]
        if verb == "deduplicate":
            return [small(run.repeats(file.name.removesuffix(".jsonl.zst"))) for file in run.generation_shards()]
        return []


def rows(path: Path, count: int) -> Path:
    """A Parquet file of so many rows, of which there is nothing to know but their number."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    most = 10_000_000
    with parquet.ParquetWriter(path, pa.schema([("seed", pa.int8())])) as file:
        for begin in range(0, count, most):
            file.write_table(pa.table({"seed": pa.nulls(min(most, count - begin), pa.int8())}))
    return path


class Simulation:
    """A run folder that grows, and commands that are measured on it."""

    def __init__(self, folder: Path, documents: int, units: int, inputs: int):
        from megatron_sbp.executor.claim import claim, write_resolved
        from megatron_sbp.executor.external import SMALL_BYTES
        from megatron_sbp.recipe import load_recipe
        from megatron_sbp.stages.graph import all_stages
        from megatron_sbp.stages.run_folder import Run

        self.folder, self.words = folder, overrides(folder, documents, units)
        size = -(-2 * SMALL_BYTES // inputs)  # a corpus too large for commands on a login node to hash
        for number in range(inputs):
            os.truncate(small(folder / "data" / f"{number:06d}.jsonl.zst", b"%d" % number), size)
        for name in ("config.json", "model.safetensors", "modules.json", "tokenizer.json"):
            small(folder / "embedder" / name, b"{}")
        self.recipe = load_recipe(RECIPE, self.words)
        self.run, self.graph = Run.of(self.recipe), all_stages(self.recipe)
        claim(self.run)
        write_resolved(self.run)
        self.written = Written(self.recipe, folder)
        self.table: list[tuple[str, str, dict[str, float]]] = []

    def simulate(self, name: str, part: tuple[int, int] = (1, 1), close: bool = True) -> float:
        """Runs a stage, or part of its units, without its work; returns seconds."""
        from megatron_sbp.executor.runner import StageRunner

        stage = next(stage for stage in self.graph if stage.name == name)
        inner: Any = getattr(stage, "stage", stage)
        verb = name
        inner.run_unit = lambda run, unit: self.written.unit(verb, run, unit)
        inner.finish = lambda run: self.written.joint(verb, run)
        runner = StageRunner(self.run, stage, self.graph, discard=True)
        if not close:
            runner._finish = lambda *_: None  # type: ignore[method-assign]
        began = time.monotonic()
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
            runner.execute(part)
        return time.monotonic() - began

    def measure(self, what: str, where: str, *words: str, program: str = "") -> None:
        """Runs one `sbp` command and adds its figures to the table."""
        start = [sys.executable, __file__, "--first-unit"] if program else [sys.executable, "-m", "megatron_sbp"]
        command = [*start, words[0], str(RECIPE), *self.words, *words[1:]]
        log = self.folder / "command.log"
        began = time.monotonic()
        with open(log, "w") as output:
            process = subprocess.Popen(
                command, stdout=output, stderr=output, cwd=self.folder, env={**os.environ, "PYTHONPATH": str(ROOT)}
            )
            memory = 0
            while True:
                number, status, used = os.wait4(process.pid, os.WNOHANG)
                if number:
                    break
                memory = max(memory, peak(process.pid))
                time.sleep(0.01)
        seconds = time.monotonic() - began
        if status:
            raise SystemExit(f"failed: {' '.join(command)}\n{log.read_text()[-3000:]}")
        figures = {"wall": seconds, "cpu": used.ru_utime + used.ru_stime, "bytes": memory}
        self.table.append((what, where, figures))
        print(row(what, where, figures), file=sys.stderr, flush=True)
        (self.folder / f"{what}, {where}.log".replace("/", "-")).write_text(log.read_text())

    def files(self) -> int:
        return sum(len(names) for _, _, names in os.walk(self.run.root))


def peak(process: int) -> int:
    """Bytes of a process's largest resident memory so far. Not that of wait4, which counts this program's own too."""
    with contextlib.suppress(OSError, IndexError):
        return 1024 * int(Path(f"/proc/{process}/status").read_text().partition("VmHWM:")[2].split()[0])
    return 0


def stages_until(simulation: Simulation, last: str) -> Iterator[str]:
    """Names of the stages before `last` that are not finished."""
    for stage in simulation.graph:
        if stage.name == last:
            return
        if not (simulation.run.manifests / f"{stage.name}.json").exists():
            yield stage.name


def simulate_run(folder: Path, documents: int, units: int, inputs: int) -> Simulation:
    """All measurements, in the order of the run."""
    found = Simulation(folder, documents, units, inputs)

    def look(where: str) -> None:
        found.measure("sbp status", where, "status")
        found.measure("sbp submit --dry-run", where, "submit", "--dry-run")

    def until(stage: str) -> None:
        for name in stages_until(found, stage):
            close = name not in LATER
            seconds = found.simulate(name, close=close)
            print(f"simulated {name}: {seconds:.1f} s", file=sys.stderr, flush=True)
            if not close:
                look(f"all units of {name} done, not closed")
                found.measure(f"closing of {name}", of_units(found, name), name, "--shard", "2/512")

    look("nothing done")
    found.measure(
        "a task of documents, to its first unit", "nothing done", "documents", "--shard", "2/512", program="1"
    )
    until("synthesize")
    found.simulate("synthesize", (1, 2))
    look("half of synthesize done")
    task = ("synthesize", "--shard", "2/512")
    found.measure("a task of synthesize, to its first unit", "half of synthesize done", *task, program="1")
    until("tokenize-synthetic")
    look("everything up to filter done")
    task = ("tokenize-synthetic", "--shard", "2/512")
    found.measure("a task of tokenize-synthetic, to its first unit", "everything up to filter done", *task, program="1")
    return found


def of_units(simulation: Simulation, name: str) -> str:
    return f"{len(list((simulation.run.manifests / name).glob('[!.]*.json'))) - 1:,} units"


def first_unit(words: list[str]) -> None:
    """Runs a command up to the moment when a unit would begin."""
    from megatron_sbp.executor.runner import StageRunner

    def begins(self: Any, view: Any, folder: Any, unit: str, fingerprints: Any) -> None:
        print(f"{self.stage.name}: {unit} would begin", flush=True)
        os._exit(0)

    StageRunner._run_unit = begins  # type: ignore[method-assign]
    from megatron_sbp.cli import main as sbp

    sys.exit(sbp(words) or "no unit was missing")


def main() -> None:
    if sys.argv[1:2] == ["--first-unit"]:
        first_unit(sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=60_386_000, help="of D; the oracle has 8.6 times as many")
    parser.add_argument("--units", type=int, default=10_000, help="shards of generations")
    parser.add_argument("--inputs", type=int, default=27_838, help="files of the corpus: DCLM-baseline has 27,838")
    parser.add_argument("--folder", type=Path, help="keeps the run folder there; without it a temporary one")
    options = parser.parse_args()
    if options.folder is not None:
        options.folder.mkdir(parents=True, exist_ok=True)
    folder = options.folder or Path(tempfile.mkdtemp(prefix="simulated-graph-"))
    try:
        found = simulate_run(folder.resolve(), options.documents, options.units, options.inputs)
        report(found)
    finally:
        if options.folder is None:
            shutil.rmtree(folder)


def report(found: Simulation) -> None:
    print(f"{found.files():,} files in the run folder at the end\n")
    print("| what | when | wall s | CPU s | memory |\n|---|---|---|---|---|")
    for line in found.table:
        print(row(*line))


def row(what: str, where: str, figures: dict[str, float]) -> str:
    """A line of the table."""
    return f"| {what} | {where} | {figures['wall']:.1f} | {figures['cpu']:.1f} | {figures['bytes'] / 1e6:.0f} MB |"


if __name__ == "__main__":
    main()
