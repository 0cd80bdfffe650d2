"""tools/synthesize.py: the texts of a run, from its export alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.tool_runs import run_tool

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.stages.synthesize import synthesizer_of
from megatron_sbp.synthesis.standalone import synthesize
from megatron_sbp.synthesis.writing import write_shard

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def export(make_run) -> Path:
    import shutil

    run = make_run("standalone")
    for file in run.tokenizer.iterdir():
        shutil.copy(file, run.export("synthesizer"))
    return run.export("synthesizer")


@pytest.mark.slow
def test_the_tool_writes_what_the_stage_writes(make_run, export, tmp_path):
    """The first pass of a run, whose generations have the same identities: the same texts."""
    run = make_run("standalone")
    output = tmp_path / "out.jsonl.zst"
    shards = [str(file) for file in run.document_shards("train")]
    words = ["--checkpoint", export, "--inputs", *shards, "--id-field", "id", "--output", output, "--generations", 2]
    words += ["--max-seed-tokens", 40, "--max-new-tokens", 50, "--batch-size", 7]
    done = run_tool("synthesize.py", tmp_path, *words)
    assert done.returncode == 0, done.stderr
    rows = list(files.read_jsonl_zst(output))
    counts = json.loads(done.stdout)
    assert counts["seed_documents"] == 60 and counts["documents"] == 120 == len(rows)
    assert counts["tokens"] == sum(row["tokens"] for row in rows)
    again, documents = tmp_path / "stage.jsonl.zst", run.document_shards("train")
    write_shard(
        again, 0, 120, synthesizer=synthesizer_of(run), documents=documents, tokens=run.tokens("real"), label="test"
    )
    expected = {row["id"]: row for row in files.read_jsonl_zst(again)}
    assert {row["id"]: row for row in rows} == expected


class Killed(Exception):
    """Stands for SIGKILL: nothing behind it runs."""


def test_a_second_start_writes_what_is_missing(make_run, export, tmp_path, monkeypatch):
    from megatron_sbp.synthesis import standalone
    from megatron_sbp.synthesis.transformers_engine import TransformersEngine

    real, written, most = TransformersEngine.write, [], 5

    def write(self, generations, prompts):
        if len(written) == most:
            raise Killed
        written.append(len(generations))
        return real(self, generations, prompts)

    monkeypatch.setattr(TransformersEngine, "write", write)
    monkeypatch.setattr(standalone, "GENERATIONS_AT_ONCE", 30)
    shards = [str(file) for file in make_run("standalone").document_shards("train")]
    lengths = {"max_seed_tokens": 40, "max_new_tokens": 20, "batch_size": 10, "generations_per_document": 2}
    output = tmp_path / "out.jsonl.zst"
    with pytest.raises(Killed):
        synthesize(export, shards, output, id_field="id", **lengths)
    assert not output.exists() and len(list(tmp_path.glob(".out*.unfinished"))) == 2
    most = 100
    counts = synthesize(export, shards, output, id_field="id", **lengths)
    assert counts["documents"] == 120 == sum(written) and not list(tmp_path.glob(".out*"))
    synthesize(export, shards, tmp_path / "undisturbed.jsonl.zst", id_field="id", **lengths)
    assert output.read_bytes() == (tmp_path / "undisturbed.jsonl.zst").read_bytes()


def test_bad_input_is_named(export, tmp_path):
    seeds = tmp_path / "seeds.jsonl"
    lengths = {"max_seed_tokens": 40, "max_new_tokens": 5}
    seeds.write_text('{"text": "good"}\n{"txet": "bad"}\n')
    with pytest.raises(InputError, match=r"seeds.jsonl:2: 'text'"):
        synthesize(export, [str(seeds)], tmp_path / "out.jsonl.zst", **lengths)
    assert not (tmp_path / "out.jsonl.zst").exists()
    seeds.write_text("")
    with pytest.raises(InputError, match="no document"):
        synthesize(export, [str(seeds)], tmp_path / "out.jsonl.zst", **lengths)
    (export / "roles.json").unlink()
    with pytest.raises(InputError, match="not the tokenizer of a run"):
        synthesize(export, [str(seeds)], tmp_path / "out.jsonl.zst", **lengths)
