"""Approximate nearest neighbours by ScaNN: a tree of partitions, asymmetric hashing, exact reordering.

ScaNN's own training of the partitions gives another result in every process, with one thread too (1.4.2;
google-research/google-research issue 1747). So the centres are computed here and handed to ScaNN as a serialized
partitioner; everything that ScaNN then derives from them came out the same in every build that we compared.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import say
from megatron_sbp.pairing.neighbors.clusters import k_means
from megatron_sbp.pairing.neighbors.scores import MARGIN, best, inner_products
from megatron_sbp.pairing.neighbors.vectors import Vectors
from megatron_sbp.recipe import Neighbors

FEW_DOCUMENTS = 2000
"""Below this a tree makes no sense: ScaNN scores all documents instead (unless the recipe sets `leaves`)."""

TRAINING_SAMPLE = 250_000
"""Vectors on which the partitions are trained, as in ScaNN's documentation."""

_QUERIES = 4096
_PLAN_FILE = "plan.json"
_ROWS = 16_384


@dataclass(frozen=True)
class ScannPlan:
    """What an index is built from. `leaves` 0 stands for ScaNN's brute force."""

    documents: int
    dimensions: int
    candidates: int
    leaves: int
    leaves_to_search: int
    reorder: int
    seed: int

    @property
    def method(self) -> str:
        """For the audit."""
        return "tree, asymmetric hashing, reordering" if self.leaves else "brute force"


def plan(documents: int, dimensions: int, settings: Neighbors, seed: int) -> ScannPlan:
    """The numbers that the recipe leaves open.

    Raises:
        InputError: more leaves than documents, or more leaves to search than leaves.
    """
    candidates = min(settings.k + 1 + MARGIN, documents)
    if settings.leaves is None and documents < FEW_DOCUMENTS:
        return ScannPlan(documents, dimensions, candidates, 0, 0, 0, seed)
    leaves = settings.leaves or max(1, round(documents**0.5))
    if leaves > documents:
        raise InputError(f"{leaves:,} leaves for {documents:,} documents", key="neighbors.leaves")
    to_search = settings.leaves_to_search or max(1, leaves // 4)
    if to_search > leaves:
        raise InputError(f"{to_search:,} is more than the {leaves:,} leaves", key="neighbors.leaves_to_search")
    reorder = max(settings.reorder or max(4 * settings.k, 100), candidates)
    return ScannPlan(documents, dimensions, candidates, leaves, to_search, min(reorder, documents), seed)


def load_scann() -> Any:
    """The module scann.scann_ops_pybind; raises InputError where it cannot be imported."""
    try:
        with quiet_file_descriptors():
            from scann.scann_ops.py import scann_ops_pybind
    except ImportError as error:
        raise InputError(
            f"ScaNN cannot be imported ({error}); there are wheels for x86-64 Linux only (`pip install scann`). "
            "neighbors.engine: exact needs no further package",
            key="neighbors.engine",
        ) from error
    return scann_ops_pybind


class ScannIndex:
    """A searchable index over all vectors of a split.

    Args:
        vectors: the documents.
        plan: how it is built.
        folder: where the index is kept for other processes; built there by the first one, loaded by the others. None
            builds it for this process only.

    Raises:
        InputError: ScaNN is not installed, too little memory or disk, or a bad vector.
    """

    def __init__(self, vectors: Vectors, plan: ScannPlan, folder: Path | None = None):
        scann = load_scann()
        self.vectors, self.plan = vectors, plan
        _check_memory(plan)
        with contextlib.ExitStack() as stack:
            if folder is None:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="scann-"))) / "index"
            else:
                stack.enter_context(_lock(folder))
            if not _is_built(folder, plan):
                _build(scann, vectors, plan, folder)
            with quiet_file_descriptors():
                self._searcher = scann.load_searcher(str(folder))
        self._searcher.searcher.set_num_threads(len(os.sched_getaffinity(0)))

    def nearest(
        self, queries: np.ndarray, own_rows: np.ndarray, k: int, advance: Callable[[int], None] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest documents of every query, as far as ScaNN finds them; scored and ranked as in scores.py.

        Args:
            queries: float32 [n, dimensions] with float16 values.
            own_rows: document that is the query itself and is left out, int64 [n]; -1 for none.
            k: neighbours wanted; no more than the plan was made for.
            advance: called with the number of queries done since the last call.

        Returns:
            ids int64 [n, k], scores float32 [n, k], padded with -1 and -2.
        """
        ids, scores = np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32)
        for begin in range(0, len(queries), _QUERIES):
            mine = slice(begin, begin + _QUERIES)
            found, distances = self._searcher.search_batched_parallel(np.ascontiguousarray(queries[mine]))
            found = found.astype(np.int64)
            found[~np.isfinite(distances)] = -1  # fewer documents in the leaves than wanted: padded with 0 and NaN
            found[found == own_rows[mine, None]] = -1
            exact = inner_products(queries[mine], found, self.vectors)
            ids[mine], scores[mine] = best(found, exact, k)
            if advance:
                advance(len(found))
        return ids, scores


def _build(scann: Any, vectors: Vectors, plan: ScannPlan, folder: Path) -> None:
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        _write_vectors(vectors, plan, partial / "dataset.npy")
        assets = ["DATASET_NPY dataset.npy"]
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


def _is_built(folder: Path, plan: ScannPlan) -> bool:
    """Whether the folder holds a complete and intact index of this plan: nobody else checks what is only in the way."""
    try:
        built = files.read_json(folder / _PLAN_FILE)
        return built["plan"] == asdict(plan) and all(
            files.matches(folder / name, entry) for name, entry in built["files"].items()
        )
    except (FileNotFoundError, NotADirectoryError, InputError, KeyError, TypeError, AttributeError):
        return False


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


def _write_config(scann: Any, plan: ScannPlan, path: Path) -> None:
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


def _check_memory(plan: ScannPlan) -> None:
    """ScaNN holds the vectors in float32, and half a byte per dimension and document for the hashes."""
    import psutil

    needed = plan.documents * plan.dimensions * 4.5
    available = psutil.virtual_memory().available
    if needed > available:
        raise InputError(
            f"ScaNN needs about {needed / 2**30:.1f} GiB for {plan.documents:,} vectors of {plan.dimensions} "
            f"dimensions, and {available / 2**30:.1f} GiB are available; neighbors.engine: exact reads them in tiles",
            key="neighbors.engine",
        )


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """One process builds, the others wait for it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_name(f".{folder.name}.lock"), "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("neighbors: another process is building the index; waiting")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


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
