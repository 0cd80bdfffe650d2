from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from megatron_sbp.base.errors import InputError
from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.pairing.neighbors.exact import nearest
from megatron_sbp.pairing.neighbors.vectors import Vectors
from megatron_sbp.planning import query_blocks
from megatron_sbp.recipe import Neighbors
from megatron_sbp.recipe.sections import Launch, Slurm
from megatron_sbp.stages.neighbors import NeighborsStage
from megatron_sbp.stages.run_folder import Run


def copy_of(mined: Run, root, helpers, **sections) -> Run:
    """The run up to the embeddings, with other settings behind them."""
    run = Run.of(helpers.recipe(root, **sections))
    skip = shutil.ignore_patterns("neighbors*", "pairs*")
    shutil.copytree(mined.root, run.root, ignore=skip)
    return run


def outputs(run: Run) -> dict[str, bytes]:
    folder = run.root / "neighbors"
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_stage_files(mined):
    vectors = Vectors(sorted(mined.embeddings("train").glob("*.npy")))
    own = np.arange(300)
    ids, scores = nearest(vectors.take(own), own, vectors, 20)
    parts = [np.load(path) for path in sorted(mined.neighbors("train").glob("*.npz"))]
    assert [len(part["ids"]) for part in parts] == [120, 120, 60]
    np.testing.assert_array_equal(np.concatenate([part["ids"] for part in parts]), ids)
    np.testing.assert_array_equal(np.concatenate([part["scores"] for part in parts]), scores)
    assert parts[0]["ids"].dtype == np.int64 and parts[0]["scores"].dtype == np.float32
    valid = np.load(mined.neighbors("valid") / "00000.npz")
    assert valid["ids"].shape == (100, 20) and valid["ids"].max() < 100
    assert set(outputs(mined)) == {
        "audit.json", "train/00000.npz", "train/00001.npz", "train/00002.npz", "valid/00000.npz",
    }  # fmt: skip


def test_audit_of_scann(mined):
    audit = json.loads((mined.root / "neighbors" / "audit.json").read_text())
    common = {"engine": "scann", "dim": 384, "k": 20, "method": "brute force", "recall_at_k": 1.0, "leaves": 0}
    assert common.items() <= audit.items() and common.items() <= audit["valid"].items()
    assert (audit["documents"], audit["recall_sample"]) == (300, 50)
    assert (audit["valid"]["documents"], audit["valid"]["recall_sample"]) == (100, 50)


def test_recall_of_a_tree_is_measured(mined, tmp_path, helpers):
    settings = Neighbors(k=10, leaves=20, leaves_to_search=1, recall_sample=300)
    run = copy_of(mined, tmp_path / "run", helpers, neighbors=settings)
    helpers.execute(run, "neighbors")
    audit = json.loads((run.root / "neighbors" / "audit.json").read_text())
    vectors = Vectors(sorted(run.embeddings("train").glob("*.npy")))
    exact, _ = nearest(vectors.take(np.arange(300)), np.arange(300), vectors, 10)
    found = np.concatenate([np.load(path)["ids"] for path in sorted(run.neighbors("train").glob("*.npz"))])
    hits = sum(len(set(one) & set(other)) for one, other in zip(exact.tolist(), found.tolist(), strict=True))
    assert audit["recall_at_k"] == pytest.approx(hits / 3000) and 0.1 < audit["recall_at_k"] < 0.9
    assert (audit["leaves"], audit["leaves_to_search"]) == (20, 1)
    assert not (run.root / "neighbors" / "index").exists()


def test_workers_change_no_byte(mined, tmp_path, helpers):
    settings = Neighbors(k=10, leaves=20, leaves_to_search=3, recall_sample=30)
    one = copy_of(mined, tmp_path / "one", helpers, neighbors=settings)
    helpers.execute(one, "neighbors")
    two = copy_of(mined, tmp_path / "two", helpers, neighbors=settings)
    graph = helpers.stages()
    assert not StageRunner(two, NeighborsStage(), graph).execute((3, 3))
    shutil.rmtree(two.root / "neighbors" / "index")  # as after a crash: the second worker builds its own
    assert not StageRunner(two, NeighborsStage(), graph).execute((1, 3))
    assert StageRunner(two, NeighborsStage(), graph).execute((2, 3))
    assert outputs(one) == outputs(two)


def test_a_deleted_shard_is_made_again_alone(mined, tmp_path, helpers):
    """Of the neighbors; a deleted shard of the embeddings is named, since `embed` has to make it first."""
    run = copy_of(mined, tmp_path / "run", helpers, neighbors=Neighbors(engine="exact", k=10, recall_sample=30))
    helpers.execute(run, "neighbors")
    before, shards = outputs(run), run.neighbor_shards("train")
    times = [shard.stat().st_mtime_ns for shard in shards]
    shards[1].unlink()
    helpers.execute(run, "neighbors")
    assert outputs(run) == before
    assert [shard.stat().st_mtime_ns == time for shard, time in zip(shards, times, strict=True)] == [True, False, True]
    (run.embeddings("train") / "00001.npy").unlink()
    shards[1].unlink()
    with pytest.raises(InputError, match=r"embeddings/train/00001\.npy: is missing; `sbp run` regenerates it"):
        helpers.execute(run, "neighbors")
    assert not shards[1].exists()


def test_a_search_that_reaches_its_target(mined, tmp_path, helpers, capfd):
    """The audit measures on other documents than those that it was tuned on; a worker that comes later looks as far."""
    found = {}
    for target in (0.5, 0.9):
        settings = Neighbors(k=10, leaves=20, recall_target=target, recall_sample=300)
        one = copy_of(mined, tmp_path / f"one-{target}", helpers, neighbors=settings)
        helpers.execute(one, "neighbors")
        found[target] = json.loads((one.root / "neighbors" / "audit.json").read_text())
        assert found[target]["recall_at_k"] > target - 0.05
        assert "candidates scored exactly find" in capfd.readouterr().err
        two = copy_of(mined, tmp_path / f"two-{target}", helpers, neighbors=settings)
        for shard in (1, 2, 3):
            stage = NeighborsStage()  # as in a process of its own
            finished = StageRunner(two, stage, helpers.stages()).execute((shard, 3))
        assert finished and outputs(one) == outputs(two)
    assert found[0.5]["leaves_to_search"] < found[0.9]["leaves_to_search"] <= 20


def test_engines_agree(mined, tmp_path, helpers):
    run = copy_of(mined, tmp_path / "run", helpers, neighbors=Neighbors(engine="exact", k=20))
    helpers.execute(run, "neighbors")
    for name, content in outputs(mined).items():
        if name != "audit.json":
            assert outputs(run)[name] == content
    audit = json.loads((run.root / "neighbors" / "audit.json").read_text())
    assert (audit["engine"], audit["recall_at_k"], audit["recall_sample"]) == ("exact", 1.0, 100)


def test_a_unit_of_the_exact_engine_may_have_several_files(mined, tmp_path, helpers, monkeypatch):
    settings = Neighbors(engine="exact", k=20)
    one = copy_of(mined, tmp_path / "one", helpers, neighbors=settings)
    helpers.execute(one, "neighbors")
    two = copy_of(mined, tmp_path / "two", helpers, neighbors=settings)
    monkeypatch.setattr(query_blocks, "_AT_LEAST", 2)
    assert NeighborsStage().units(two) == ["train-00000", "train-00001-00002", "valid-00000"]
    assert NeighborsStage().units(copy_of(mined, tmp_path / "scann", helpers))[2] == "train-00002"
    runner = StageRunner(two, NeighborsStage(), helpers.stages())
    assert not runner.execute((2, 3))  # with two files
    (two.neighbors("train") / "00002.npz").unlink()
    for shard in (1, 2, 3):
        finished = runner.execute((shard, 3))
    assert finished and outputs(one) == outputs(two)


def test_other_devices_cut_other_units_and_lose_no_file(mined, tmp_path, helpers, monkeypatch):
    """A CPU gets three tasks here and a GPU two: the first of the CPU's is not the first of the GPU's."""
    settings = Neighbors(engine="exact", k=20)
    one = copy_of(mined, tmp_path / "one", helpers, neighbors=settings)
    helpers.execute(one, "neighbors")
    monkeypatch.setattr(query_blocks, "_AT_LEAST", 2)
    monkeypatch.setattr(query_blocks, "_COMPARISONS", {"gpu": 10**14, "cpu": 360**2 // 3})
    two = copy_of(mined, tmp_path / "two", helpers, neighbors=settings, launch=Launch(device="cpu"))
    for shard in (1, 2, 3):  # of four: all files of train
        assert not StageRunner(two, NeighborsStage(), helpers.stages()).execute((shard, 4))
    gpus = {"launch": Launch(device="auto"), "slurm": Slurm(gpus_per_node=1)}
    two = Run.of(helpers.recipe(two.root, neighbors=settings, **gpus))
    assert len(NeighborsStage().units(two)) == 3
    assert StageRunner(two, NeighborsStage(), helpers.stages()).execute()
    assert outputs(one) == outputs(two)


@pytest.mark.parametrize("leaves", [None, 10])
def test_scann_with_several_indexes(mined, tmp_path, helpers, leaves, monkeypatch):
    """300 documents in files of 120: an index of two files and one of one. Workers change no byte, and no recall."""
    monkeypatch.setattr(query_blocks, "_AT_LEAST", 2)
    settings = Neighbors(k=20, leaves=leaves, recall_target=0.9, recall_sample=300, documents_per_index=200)
    one, two = (copy_of(mined, tmp_path / name, helpers, neighbors=settings) for name in ("one", "two"))
    helpers.execute(one, "neighbors")
    stage = NeighborsStage()
    assert stage.units(two) == ["train-00000", "train-00001-00002", "valid-00000"]
    for number in (3, 2):
        assert not StageRunner(two, NeighborsStage(), helpers.stages()).execute((number, 3))
    assert StageRunner(two, NeighborsStage(), helpers.stages()).execute((1, 3))
    assert outputs(one) == outputs(two)
    audit = json.loads((one.root / "neighbors" / "audit.json").read_text())
    assert audit["parts"] == 2 and "parts" not in audit["valid"]
    assert audit["recall_at_k"] > 0.85 and audit["leaves"] == 2 * (leaves or 0)
    if leaves is None:  # every document is compared
        same = {name: data for name, data in outputs(one).items() if name.endswith("npz")}
        assert audit["recall_at_k"] == 1.0 and {n: d for n, d in outputs(mined).items() if n in same} == same


@pytest.mark.parametrize("engine", ["scann", "exact"])
def test_vectors_that_embed_has_checked_are_not_checked_again(mined, tmp_path, helpers, monkeypatch, engine):
    monkeypatch.setattr(Vectors, "check", lambda *_: pytest.fail("checked again"))
    run = copy_of(mined, tmp_path / "run", helpers, neighbors=Neighbors(k=20, recall_sample=50, engine=engine))
    helpers.execute(run, "neighbors")
    assert outputs(run).keys() == outputs(mined).keys()


def test_what_belongs_to_the_settings(tmp_path, helpers):
    stage = NeighborsStage()

    def described(**changes) -> tuple:
        run = Run.of(helpers.recipe(tmp_path, neighbors=Neighbors(**changes)))
        return stage.settings(run), stage.unit_settings(run)

    assert described(k=20) == described(k=20, recall_target=0.5)  # brute force: there is nothing to tune
    assert described(k=20, leaves=9, leaves_to_search=2) == described(
        k=20, leaves=9, leaves_to_search=2, recall_target=0.5
    )
    assert described(k=20, leaves=9) != described(k=20, leaves=9, recall_target=0.5)
    scann, exact = described(k=20), described(k=20, engine="exact")
    assert exact == described(k=20, engine="exact", leaves=3, recall_sample=5)
    assert scann != described(k=20, leaves=3) and scann != described(k=21)
    assert scann[0] != described(k=20, recall_sample=5)[0] and scann[1] == described(k=20, recall_sample=5)[1]


def test_stage_modules_import_nothing_heavy():
    heavy = ("torch", "transformers", "sentence_transformers", "scann", "numba", "numpy", "pyarrow", "megatron.core")
    program = (
        "import sys\n"
        "from megatron_sbp.stages import embed, filter, neighbors, pairs, synthesize\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
