"""A ScaNN index on disk: its vectors, partitions and configuration.

ScaNN's own training of the partitions gives another result in every process, even with one thread (1.4.2;
google-research/google-research issue 1747). So the centers are computed here and handed to ScaNN as a serialized
partitioner; everything that ScaNN then derives from them was the same in every build that we compared.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

import numpy as np

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import say
from megatron_sbp.pairing.neighbors.clusters import k_means
from megatron_sbp.pairing.neighbors.scann_plan import ScannPlan
from megatron_sbp.pairing.neighbors.vectors import Vectors

TRAINING_SAMPLE = 250_000
"""Vectors on which the partitions are trained, as in ScaNN's documentation."""

_PLAN_FILE = "plan.json"
_VECTORS = "dataset.npy"
_COMPARED = 1024
_ROWS = 16_384


def build(scann: ModuleType, vectors: Vectors, plan: ScannPlan, folder: Path) -> None:
    """Writes an index that `scann.load_searcher` reads; `folder` appears when it is complete.

    Args:
        scann: the module scann.scann_ops_pybind.
        vectors: the documents.
        plan: how the index is built.
        folder: replaced if it exists.

    Raises:
        InputError: a vector is not finite or does not have length 1.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        _write_vectors(vectors, plan, partial / _VECTORS)
        assets = [f"DATASET_NPY {_VECTORS}"]
        if plan.leaves:
            say(f"neighbors: building a ScaNN index of {plan.leaves:,} leaves over {plan.documents:,} documents")
            _write_partitioner(vectors, plan, partial / "serialized_partitioner.pb")
            assets.append("PARTITIONER serialized_partitioner.pb")
        _write_config(scann, plan, partial / "scann_config.pb")
        _write_assets(assets, partial / "scann_assets.pbtxt")
        if plan.leaves:
            # Loading trains the hashing and hashes all vectors; written out, others load that.
            with quiet_file_descriptors():
                searcher = scann.load_searcher(str(partial))
                searcher.searcher.set_num_threads(len(os.sched_getaffinity(0)))
                searcher.serialize(str(partial), relative_path=True)
        written = {path.name: files.describe(path) for path in sorted(partial.iterdir())}
        files.write_json(partial / _PLAN_FILE, {"plan": asdict(plan), "files": written})
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def is_built(folder: Path, plan: ScannPlan, vectors: Vectors) -> bool:
    """Whether the folder holds a complete and intact index of this plan over these vectors. No manifest covers these
    files; says so where it is an index of others, such as another run's."""
    try:
        built = files.read_json(folder / _PLAN_FILE)
        intact = built["plan"] == asdict(plan) and all(
            files.matches(folder / name, entry) for name, entry in built["files"].items()
        )
    except (FileNotFoundError, NotADirectoryError, InputError, KeyError, TypeError, AttributeError):
        return False
    if intact and not _has_vectors(folder / _VECTORS, vectors):
        say(f"neighbors: {folder} is an index of other vectors; rebuilding it")
        return False
    return intact


def _has_vectors(file: Path, vectors: Vectors) -> bool:
    """Whether some rows from all over the index are those of the vectors."""
    rows = np.unique(np.linspace(0, len(vectors) - 1, _COMPARED).astype(np.int64))
    return bool(np.array_equal(np.load(file, mmap_mode="r")[rows], vectors.take(rows)))


def _write_vectors(vectors: Vectors, plan: ScannPlan, path: Path) -> None:
    matrix = np.lib.format.open_memmap(path, "w+", np.float32, (plan.documents, plan.dimensions))
    for first, rows in vectors.tiles(_ROWS):
        matrix[first : first + len(rows)] = rows
    matrix.flush()


def _write_partitioner(vectors: Vectors, plan: ScannPlan, path: Path) -> None:
    from scann.partitioning import partitioner_pb2

    random = np.random.default_rng([plan.seed, plan.documents])
    size = min(plan.documents, max(TRAINING_SAMPLE, plan.leaves))
    sample = vectors.take(np.sort(random.choice(plan.documents, size, replace=False)))
    partitioner = partitioner_pb2.SerializedPartitioner(n_tokens=plan.leaves)
    root = partitioner.kmeans.kmeans_tree.root
    for leaf, center in enumerate(k_means(sample, plan.leaves, plan.seed)):
        root.centers.add().dimension.extend(center.tolist())
        root.children.add(learned_spilling_threshold=float("nan"), leaf_id=leaf)
    root.learned_spilling_threshold, root.leaf_id = float("nan"), -1
    partitioner.kmeans.kmeans_tree.learned_spilling_type = 0  # NO_SPILLING
    path.write_bytes(partitioner.SerializeToString(deterministic=True))


def _write_config(scann: ModuleType, plan: ScannPlan, path: Path) -> None:
    from google.protobuf import text_format
    from scann.proto import scann_pb2

    # The builder looks at the shape of its vectors only.
    builder = scann.builder(np.empty((1, plan.dimensions), np.float32), plan.candidates, "dot_product")
    if plan.leaves:
        builder = builder.tree(plan.leaves, plan.leaves_to_search, training_sample_size=TRAINING_SAMPLE)
        # Two dimensions per block and 0.2 are what ScaNN's documentation uses for inner products.
        builder = builder.score_ah(2, anisotropic_quantization_threshold=0.2).reorder(plan.reorder)
    else:
        builder = builder.score_brute_force()
    config = text_format.Parse(builder.create_config(), scann_pb2.ScannConfig())
    path.write_bytes(config.SerializeToString(deterministic=True))


def _write_assets(assets: list[str], path: Path) -> None:
    lines = []
    for asset in assets:
        kind, name = asset.split()
        lines.append(f'assets {{\n  asset_type: {kind}\n  asset_path: "{name}"\n}}\n')
    path.write_text("".join(lines))


@contextlib.contextmanager
def quiet_file_descriptors() -> Iterator[None]:
    """Keeps what ScaNN's C++ code logs from the terminal; shows it when something goes wrong."""
    sys.stdout.flush()
    sys.stderr.flush()
    with tempfile.TemporaryFile() as log:
        kept = [(number, os.dup(number)) for number in (1, 2)]
        failed = True
        try:
            for number, _ in kept:
                os.dup2(log.fileno(), number)
            yield
            failed = False
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, copy in kept:
                os.dup2(copy, number)
                os.close(copy)
            if failed:
                log.seek(0)
                sys.stderr.write(log.read().decode(errors="replace"))
