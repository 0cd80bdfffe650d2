from __future__ import annotations

import json
import shutil
from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.overlap.shingles import shared_fraction, shingle_hashes
from megatron_sbp.recipe import Pairs
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.tokenization.indexed import open_indexed


def copy_of(mined: Run, root, helpers, **pairs) -> Run:
    run = Run.of(helpers.recipe(root, pairs=Pairs(**{"alpha": 0.5, "max_targets_per_seed": 4, **pairs})))
    shutil.copytree(mined.root, run.root, ignore=shutil.ignore_patterns("pairs*"))
    return run


def rows_of(run: Run, split: str = "train") -> list[dict]:
    return pq.read_table(run.pairs(split)).to_pylist()


@pytest.mark.parametrize(("split", "tokens", "documents"), [("train", "real", 300), ("valid", "valid", 100)])
def test_pairs_of_real_text(mined, split, tokens, documents):
    rows = rows_of(mined, split)
    assert len(rows) > 5
    texts = [row for shard in mined.document_shards(split) for row in files.read_jsonl_zst(shard)]
    vectors = np.concatenate([np.load(p) for p in sorted(mined.embeddings(split).glob("*.npy"))]).astype(float)
    indexed = open_indexed(mined.tokens(tokens))
    assert [(r["seed"], -r["score"], r["target"]) for r in rows] == sorted(
        (r["seed"], -r["score"], r["target"]) for r in rows
    )
    for row in rows:
        seed, target = row["seed"], row["target"]
        assert seed != target
        assert (texts[seed]["id"], texts[target]["id"]) == (row["seed_id"], row["target_id"])
        assert row["score"] == pytest.approx(vectors[seed] @ vectors[target], abs=1e-6) and row["score"] > 0.5
        hashes = [shingle_hashes(indexed[place][:-1], 13) for place in (seed, target)]
        assert shared_fraction(*hashes) <= 0.15
    # Nothing is missing: every pair above alpha that breaks no rule is there, up to the cap.
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -1)
    for seed in range(documents):
        good = []
        for target in np.argsort(-scores[seed], kind="stable"):
            if scores[seed, target] <= 0.5 + 1e-7:
                break
            hashes = [shingle_hashes(indexed[place][:-1], 13) for place in (seed, int(target))]
            if shared_fraction(*hashes) <= 0.15:
                good.append(int(target))
        assert [row["target"] for row in rows if row["seed"] == seed] == good[:4]


def test_audit(mined):
    audit = json.loads(mined.audit_pairs.read_text())
    for split, documents in (("train", 300), ("valid", 100)):
        part = audit[split]
        assert part["documents"] == documents and part["candidates"] == documents * 20
        assert part["candidates"] == part["kept"] + sum(part["dropped"].values())
        assert part["kept"] == len(rows_of(mined, split))
        assert part["documents_with_pairs"] == len({row["seed"] for row in rows_of(mined, split)})
        often = Counter(row["target_id"] for row in rows_of(mined, split))
        targets = part["seeds_per_target"]
        assert (targets["targets"], targets["largest"]) == (len(often), max(often.values()))
        assert {hub["id"]: hub["seeds"] for hub in targets["hubs"]}.items() <= often.items()
    pairs = {(row["seed_id"], row["target_id"]) for row in rows_of(mined)}
    assert len(audit["examples"]) == 10
    for example in audit["examples"]:
        assert (example["seed"]["id"], example["target"]["id"]) in pairs
        assert example["seed"]["text"].startswith(example["seed"]["title"])


def test_random_control(mined, tmp_path, helpers):
    run = copy_of(mined, tmp_path / "run", helpers, relation="random")
    helpers.execute(run, "pairs")
    for split in ("train", "valid"):
        similar, random = rows_of(mined, split), rows_of(run, split)
        assert [row["seed"] for row in random] == [row["seed"] for row in similar]
        pairs = {(row["seed"], row["target"]) for row in random}
        assert len(pairs) == len(random) and all(seed != target for seed, target in pairs)
        assert np.mean([row["score"] for row in random]) < 0.35 < 0.5 < np.mean([row["score"] for row in similar])
    assert json.loads(run.audit_pairs.read_text())["train"]["relation"] == "random"
    first = {path.name: path.read_bytes() for path in (run.root / "pairs").glob("*.*")}
    shutil.rmtree(run.root / "pairs")
    helpers.execute(run, "pairs")
    assert {path.name: path.read_bytes() for path in (run.root / "pairs").glob("*.*")} == first and len(first) == 3


def test_another_threshold_runs_again(mined, tmp_path, helpers, capfd):
    run = copy_of(mined, tmp_path / "run", helpers)
    helpers.execute(run, "pairs")
    assert [path.read_bytes() for path in (run.pairs("train"), run.audit_pairs)] == [
        path.read_bytes() for path in (mined.pairs("train"), mined.audit_pairs)
    ]
    run.recipe.pairs.alpha = 0.55
    capfd.readouterr()
    helpers.execute(run, "pairs")
    assert "pairs: alpha was 0.5, is 0.55" in capfd.readouterr().err
    assert {(r["seed"], r["target"]) for r in rows_of(run)} < {(r["seed"], r["target"]) for r in rows_of(mined)}


def test_no_pairs(mined, tmp_path, helpers):
    run = copy_of(mined, tmp_path / "run", helpers, alpha=0.99)
    with pytest.raises(InputError, match=r"'pairs.alpha': no pairs among 300 train documents: alpha is 0.99, the larg"):
        helpers.execute(run, "pairs")
    assert not (run.root / "pairs" / "audit.json").exists()
