from __future__ import annotations

import json
import shutil
from collections import Counter, defaultdict

import numpy as np
import pyarrow.parquet as pq
import pytest

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.overlap.shingles import shared_fraction, shingle_hashes
from megatron_sbp.recipe import Documents, Pairs
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
    bands = audit["bands"]
    assert sum(band["pairs"] for band in bands) == len(pairs) and bands[-1]["from"] == 0.5
    assert all(0 < len(band["examples"]) <= 10 for band in bands) and len(bands[-1]["examples"]) == 10
    for example in [*audit["examples"], *(example for band in bands for example in band["examples"])]:
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


def test_shuffled_control(mined, tmp_path, helpers):
    run = copy_of(mined, tmp_path / "run", helpers, relation="shuffled")
    helpers.execute(run, "pairs")
    for split in ("train", "valid"):
        similar, shuffled = rows_of(mined, split), rows_of(run, split)
        pairs, related = ({(row["seed"], row["target"]) for row in rows} for rows in (shuffled, similar))
        assert len(pairs) == len(shuffled) > 0.9 * len(similar) and not pairs & related
        mined_targets, dealt = (Counter(row["target"] for row in rows) for rows in (similar, shuffled))
        assert not dealt - mined_targets and all(seed != target for seed, target in pairs)
        assert np.mean([row["score"] for row in shuffled]) < 0.45 < 0.5 < np.mean([row["score"] for row in similar])
    audit = json.loads(run.audit_pairs.read_text())["train"]
    assert audit["relation"] == "shuffled" and audit["candidates"] == audit["kept"] + sum(audit["dropped"].values())
    first = {path.name: path.read_bytes() for path in (run.root / "pairs").glob("*.*")}
    shutil.rmtree(run.root / "pairs")
    helpers.execute(run, "pairs")
    assert {path.name: path.read_bytes() for path in (run.root / "pairs").glob("*.*")} == first


@pytest.mark.parametrize("relation", ["similar", "random"])
def test_cap_per_target(mined, tmp_path, helpers, relation):
    run = copy_of(mined, tmp_path / "run", helpers, max_seeds_per_target=2, relation=relation)
    helpers.execute(run, "pairs")
    seeds_of = defaultdict(list)
    for row in rows_of(mined):
        seeds_of[row["target"]].append((-row["score"], row["seed"]))
    kept = {target: sorted(seeds)[:2] for target, seeds in seeds_of.items()}
    expected = Counter(seed for seeds in kept.values() for _, seed in seeds)
    assert Counter(row["seed"] for row in rows_of(run)) == expected  # random pairs: as many per seed as the mined ones
    audit = files.read_json(run.audit_pairs)["train"]
    assert audit["kept"] == expected.total() == len(rows_of(mined)) - audit["dropped"]["target_cap"]
    assert audit["documents_with_pairs"] == len(expected) and sum(audit["score_histogram"]["kept"]) == audit["kept"]
    if relation == "similar":
        pairs = {(row["target"], row["seed"]) for row in rows_of(run)}
        assert pairs == {(target, seed) for target, seeds in kept.items() for _, seed in seeds}
        assert audit["seeds_per_target"]["largest"] == 2 < max(map(len, seeds_of.values()))


def sharing(mined: Run) -> dict[tuple[int, int], float]:
    """Part of the shorter one's shingles that two train documents share, where they share any."""
    indexed = open_indexed(mined.tokens("real"))
    hashes = [shingle_hashes(indexed[row][:-1], 13) for row in range(300)]
    pairs = {(seed, target) for seed in range(300) for target in range(300) if seed != target}
    return {pair: part for pair in pairs if (part := shared_fraction(hashes[pair[0]], hashes[pair[1]])) > 0}


@pytest.mark.parametrize("relation", ["similar", "random"])
def test_copies_are_collapsed_before_the_cap(mined, tmp_path, helpers, relation):
    """Here copies are documents that share any shingle: of those there are some in real text."""
    run = copy_of(mined, tmp_path / "run", helpers, collapse_above=0.0, max_targets_per_seed=2, relation=relation)
    helpers.execute(run, "pairs")
    uncapped = copy_of(mined, tmp_path / "uncapped", helpers, max_targets_per_seed=None)
    helpers.execute(uncapped, "pairs")
    neighbors = [np.load(file) for file in mined.neighbor_shards("train")]
    near = {
        (seed, int(target))
        for seed, (ids, scores) in enumerate(
            zip(*(np.concatenate([file[name] for file in neighbors]) for name in ("ids", "scores")), strict=True)
        )
        for target, score in zip(ids, scores, strict=True)
        if score > 0.5
    }
    copies = {seed for seed, target in sharing(mined) if (seed, target) in near and target < seed}
    expected: dict[int, list[int]] = defaultdict(list)
    for row in rows_of(uncapped):
        if not {row["seed"], row["target"]} & copies and len(expected[row["seed"]]) < 2:
            expected[row["seed"]].append(row["target"])
    counts = {seed: len(targets) for seed, targets in expected.items() if targets}
    assert Counter(row["seed"] for row in rows_of(run)) == counts and len(copies) > 2
    audit = files.read_json(run.audit_pairs)["train"]
    assert audit["dropped"]["copy"] > 2 and audit["dropped"]["cap"] > 2 and audit["kept"] == sum(counts.values())
    if relation == "similar":
        found = defaultdict(list)
        for row in rows_of(run):
            found[row["seed"]].append(row["target"])
        assert found == {seed: targets for seed, targets in expected.items() if targets}


def test_directions(mined, tmp_path, helpers):
    every = [(row["seed"], row["target"]) for row in rows_of(mined)]
    both = [pair for pair in every if pair[::-1] in set(every)]
    assert 0 < len(both) < len(every)
    runs = {name: copy_of(mined, tmp_path / name, helpers, directions=name) for name in ("mutual", "one")}
    for run in runs.values():
        helpers.execute(run, "pairs")
    mutual, one = ([(row["seed"], row["target"]) for row in rows_of(run)] for run in runs.values())
    assert mutual == both
    assert len(one) == len({frozenset(pair) for pair in every}) == len({frozenset(pair) for pair in one})
    for run, pairs in zip(runs.values(), (mutual, one), strict=True):
        assert files.read_json(run.audit_pairs)["train"]["dropped"]["direction"] == len(every) - len(pairs)


@pytest.fixture(scope="module")
def lettered(mined, tmp_path_factory, helpers) -> tuple[Run, list[dict]]:
    """The run's entries with two more fields, from the corpus to their neighbors; and these rows."""
    folder = tmp_path_factory.mktemp("lettered")
    corpus = [row for shard in mined.document_shards("train") for row in files.read_jsonl_zst(shard)]
    for row in corpus:
        row |= {"letter": row["title"][0].lower(), "half": len(row["text"]) % 2 or None}
    files.write_jsonl_zst(folder / "corpus.jsonl.zst", corpus)
    recipe = helpers.recipe(folder / "run")
    recipe.documents = Documents(
        inputs=[str(folder / "corpus.jsonl.zst")], train=220, valid=79, test=1, oracle=0, id_field="id",
        keep_fields=["letter", "half"], documents_per_shard=60,
    )  # fmt: skip
    helpers.execute(Run.of(recipe), "documents", "tokenizer", "tokenize", "embed", "neighbors")
    return Run.of(recipe), corpus


@pytest.mark.parametrize("relation", ["similar", "random"])
def test_fields_of_the_documents(lettered, tmp_path, helpers, relation):
    """Pairs of entries that begin with the same letter, of different topics: through the stages, from the corpus on."""
    made, corpus = lettered
    rules = Pairs(alpha=0.2, same_fields=["letter"], different_fields=["half"], relation=relation)
    recipe = helpers.recipe(tmp_path / "run", pairs=rules)
    recipe.documents = made.recipe.documents
    run = Run.of(recipe)
    shutil.copytree(made.root, run.root)
    helpers.execute(run)
    fields = {row["id"]: (row["letter"], row["half"]) for row in corpus}
    pairs = [(fields[row["seed_id"]], fields[row["target_id"]]) for row in rows_of(run)]
    assert len(pairs) > 30 and len({seed[0] for seed, _ in pairs}) > 5
    for seed, target in pairs:
        assert seed[0] == target[0] and not (seed[1] == target[1] == 1)
    assert {(seed[1], target[1]) for seed, target in pairs} == {(1, None), (None, 1), (None, None)}
    assert files.read_json(run.audit_pairs)["train"]["dropped"]["fields"] > 500


def test_rules_that_are_newer_than_a_run_leave_its_pairs_selected(mined):
    manifest = files.read_json(mined.root / "stages" / "pairs.json")
    rules = {"max_target_tokens", "max_seeds_per_target", "same_fields", "different_fields"}
    assert "alpha" in manifest["settings"] and not rules & manifest["settings"].keys()


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
