"""Real Megatron under tensor and pipeline parallelism: what it saved is exported, what was imported it loads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from support.made_up_model import as_job, hugging_face_model, logits_of, shape

from megatron_sbp.base import files
from megatron_sbp.checkpoint.hugging_face import export
from megatron_sbp.checkpoint.hugging_face_import import import_checkpoint
from megatron_sbp.recipe import Model

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]
PADDED = 384
LAYOUTS = {"one": (1, 1), "TP2": (2, 1), "PP2": (1, 2), "TP2xPP2": (2, 2)}
SAVED = {"tied-norm": shape(True, True, 4, 2, layers=4), "untied-plain": shape(False, False, 4, 2, layers=4)}


@dataclass
class Start:
    """A Hugging Face checkpoint, with the layouts under which Megatron loads it."""

    model: Model
    rows: int = 290
    dtype: str = "float32"
    shards: str = "50GB"
    layouts: tuple[str, ...] = ("one", "TP2xPP2")


STARTS = {
    "tied-norm": Start(shape(True, True, 4, 2, layers=4), layouts=tuple(LAYOUTS)),
    "untied-plain-shards": Start(shape(False, False, 4, 2, layers=4), shards="100KB", layouts=tuple(LAYOUTS)),
    "tied-plain-bf16": Start(shape(True, False, 8, 2, layers=4), dtype="bfloat16"),
    "untied-norm-multi-head": Start(shape(False, True, 4, 4, layers=4), rows=PADDED),
    "more-rows-than-padded": Start(shape(False, True, 6, 2, layers=4), rows=400),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory, run_megatron) -> Path:
    """Everything that Megatron has to do here, in one start of four ranks: megatron/NAME/LAYOUT/iter_0000007,
    start/NAME, imported/NAME, logits/NAME-LAYOUT.npy."""
    folder = tmp_path_factory.mktemp("layouts")
    (folder / "logits").mkdir()
    jobs = []
    for seed, (name, model) in enumerate(SAVED.items()):
        common = {"model": as_job(model), "vocabulary": PADDED}
        paths = {layout: str(folder / "megatron" / name / layout / "iter_0000007") for layout in LAYOUTS}
        for layout, sizes in LAYOUTS.items():
            source = {"seed": seed} if layout == "one" else {"load": paths["one"]}
            jobs.append({**common, "layout": sizes, **source, "save": paths[layout]})
    for seed, (name, start) in enumerate(STARTS.items()):
        source = hugging_face_model(folder / "start" / name, start.model, start.rows, seed, start.dtype, start.shards)
        import_checkpoint(source, start.model, vocabulary=290, padded=PADDED, target=folder / "imported" / name)
        common = {"model": as_job(start.model), "vocabulary": PADDED, "tokens": tokens()}
        for layout in start.layouts:
            load = {"load": str(folder / "imported" / name / "release")}
            logits = {"logits": str(folder / "logits" / f"{name}-{layout}.npy")}
            jobs.append({**common, "layout": LAYOUTS[layout], **load, **logits})
    jobs.sort(key=lambda job: job["layout"])  # Megatron is set up again for each
    run_megatron(jobs, folder, ranks=4)
    return folder


def tokens() -> list[list[int]]:
    return np.random.default_rng(1).integers(3, 290, (2, 48)).tolist()


@pytest.mark.parametrize("name", SAVED)
def test_every_layout_exports_the_same_bytes(made, name, tokenizer_folder, tmp_path):
    for layout in LAYOUTS:
        export(made / "megatron" / name / layout / "iter_0000007", SAVED[name], tokenizer_folder, tmp_path / layout)
    one = {file.name: files.sha256(file) for file in (tmp_path / "one").iterdir() if file.name != "provenance.json"}
    for layout in LAYOUTS:
        other = {file: files.sha256(tmp_path / layout / file) for file in one}
        assert other == one, layout
    digests = {files.read_json(tmp_path / layout / "provenance.json")["weights_sha256"] for layout in LAYOUTS}
    assert len(digests) == 1 and "model.safetensors" in one


@pytest.mark.parametrize("name", STARTS)
def test_megatron_loads_an_import_under_any_layout(made, name):
    start = STARTS[name]
    ours = logits_of(made / "start" / name, tokens())
    columns = min(start.rows, PADDED)
    for layout in start.layouts:
        theirs = np.load(made / "logits" / f"{name}-{layout}.npy")
        assert theirs.shape == (2, 48, PADDED)
        difference = np.abs(theirs[..., :columns] - ours[..., :columns]).max()
        print(f"{name} under {layout}: largest difference {difference:.1e}, logits up to {np.abs(ours).max():.1f}")
        assert difference <= 1e-4, layout
    assert np.abs(ours).max() > 1


def test_padding_gets_no_more_than_the_average_probability(made):
    logits = np.load(made / "logits/tied-norm-one.npy").astype(np.float64)
    real, padding = np.exp(logits[..., :290]), np.exp(logits[..., 290:])
    assert (padding.max(-1) <= real.mean(-1) * (1 + 1e-5)).all()
    assert np.ptp(logits[..., 290:], axis=-1).max() < 1e-4


@pytest.mark.parametrize("name", ["tied-norm", "untied-plain-shards", "tied-plain-bf16"])
def test_there_and_back_gives_the_same_bits(made, name, tokenizer_folder, tmp_path):
    from safetensors import safe_open

    export(made / "imported" / name / "release", STARTS[name].model, tokenizer_folder, tmp_path / "back")
    found = 0
    with safe_open(tmp_path / "back/model.safetensors", framework="pt") as ours:
        for file in sorted((made / "start" / name).glob("*.safetensors")):
            with safe_open(file, framework="pt") as theirs:
                for key in theirs.keys():  # noqa: SIM118  not a dict
                    one, other = ours.get_tensor(key), theirs.get_tensor(key)
                    assert one.dtype == other.dtype and one.equal(other), key
                    found += 1
        assert found == len(ours.keys())
