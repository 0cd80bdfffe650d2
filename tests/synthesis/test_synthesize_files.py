"""tools/synthesize.py: the texts of a run, from its export alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.tool_runs import run_tool

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.documents.foreign import Source
from megatron_sbp.recipe import Synthesis, make_section
from megatron_sbp.stages.synthetic_writer import synthesizer_of
from megatron_sbp.synthesis import synthesize_files
from megatron_sbp.synthesis.text_limits import TextLimits
from megatron_sbp.synthesis.writing import write_shard
from megatron_sbp.tokenization.hugging_face import open_synthesizer_tokenizer

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def export(make_run) -> Path:
    import shutil

    run = make_run("standalone")
    for file in run.tokenizer.iterdir():
        shutil.copy(file, run.export("synthesizer"))
    return run.export("synthesizer")


def synthesize(
    checkpoint: Path, inputs: list[str], output: Path, *, max_seed_tokens: int, max_new_tokens: int,
    id_field: str | None = None, tokenizer_source: str | None = None, generations_per_document: int = 1, **sampling,
) -> dict[str, int]:  # fmt: skip
    return synthesize_files.synthesize(
        checkpoint,
        Source(inputs, id_field=id_field),
        output,
        tokenizer=open_synthesizer_tokenizer(checkpoint, tokenizer_source),
        settings=make_section(Synthesis, tokens=1, **sampling),
        limits=TextLimits(max_seed_tokens, max_new_tokens),
        generations_per_document=generations_per_document,
    )


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


def test_a_second_start_writes_what_is_missing(make_run, export, tmp_path, monkeypatch, capsys):
    from megatron_sbp.synthesis.transformers_engine import TransformersEngine

    real, written, most = TransformersEngine.write, [], 5

    def write(self, generations, prompts):
        if len(written) == most:
            raise Killed
        written.append(len(generations))
        return real(self, generations, prompts)

    monkeypatch.setattr(TransformersEngine, "write", write)
    monkeypatch.setattr(synthesize_files, "GENERATIONS_AT_ONCE", 30)
    shards = [str(file) for file in make_run("standalone").document_shards("train")]
    lengths = {"max_seed_tokens": 40, "max_new_tokens": 20, "batch_size": 10, "generations_per_document": 2}
    output = tmp_path / "out.jsonl.zst"
    with pytest.raises(Killed):
        synthesize(export, shards, output, id_field="id", **lengths)
    assert not output.exists() and len(list(tmp_path.glob(".out*.unfinished"))) == 2
    most = 100
    with monkeypatch.context() as stopped, pytest.raises(Killed):  # others do not replace them
        stopped.setattr(TransformersEngine, "write", lambda *_: (_ for _ in ()).throw(Killed))
        synthesize(export, shards, output, id_field="id", **lengths, temperature=0.5)
    others = {file.name for file in tmp_path.glob(".out*.unfinished") if b"places" not in file.read_bytes()}
    counts = synthesize(export, shards, output, id_field="id", **lengths)
    assert counts["documents"] == 120 == sum(written)
    assert {file.name for file in tmp_path.glob(".out*")} == others and len(others) == 1
    assert "unfinished texts of calls with other settings or inputs are kept in " in capsys.readouterr().err
    synthesize(export, shards, tmp_path / "undisturbed.jsonl.zst", id_field="id", **lengths)
    assert output.read_bytes() == (tmp_path / "undisturbed.jsonl.zst").read_bytes()


def test_bad_input_is_named(export, tmp_path):
    seeds = tmp_path / "seeds.jsonl"
    lengths = {"max_seed_tokens": 40, "max_new_tokens": 5}
    seeds.write_text('{"text": "good"}\n{"txet": "bad"}\n')
    with pytest.raises(InputError, match=r"seeds.jsonl:2: 'text'"):
        synthesize(export, [str(seeds)], tmp_path / "out.jsonl.zst", **lengths)
    assert not (tmp_path / "out.jsonl.zst").exists()
    for nothing in ("", '{"text": ""}\n{"text": " \\n"}\n'):
        seeds.write_text(nothing)
        with pytest.raises(InputError, match="no document"):
            synthesize(export, [str(seeds)], tmp_path / "out.jsonl.zst", **lengths)
    (export / "roles.json").unlink()
    with pytest.raises(InputError, match=r"has no roles.json, so no token is the separator"):
        synthesize(export, [str(seeds)], tmp_path / "out.jsonl.zst", **lengths)


SEEDS = ["A parser reads text.", "The disk is full, and no more files fit on it.", "é" * 20]


def plain_model(folder: Path, kind: str, **special: str) -> Path:
    """A tiny checkpoint as others save them, with a tokenizer of its own; its weights are random."""
    import torch
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<s>", "</s>", "<sep>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(SEEDS * 3, trainer)
    if kind == "llama":
        backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    transformers.PreTrainedTokenizerFast(tokenizer_object=backend, **special).save_pretrained(folder)
    sizes = {"vocab_size": 320, "bos_token_id": 0, "eos_token_id": 1, "initializer_range": 0.3}
    heads = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
             "num_key_value_heads": 2, "max_position_embeddings": 64}  # fmt: skip
    config = {
        "llama": lambda: transformers.LlamaConfig(**sizes, **heads),
        "qwen3": lambda: transformers.Qwen3Config(**sizes, **heads, head_dim=8),
        "gpt2": lambda: transformers.GPT2Config(**sizes, n_embd=32, n_layer=2, n_head=4, n_positions=64),
    }[kind]()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("separator", ["\n\nOn the same:\n", "<sep>"])
@pytest.mark.parametrize("kind", ["llama", "qwen3", "gpt2"])
def test_any_causal_model(tmp_path, kind, separator):
    """The likeliest token every time, as `generate` writes it behind the same prompt."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = plain_model(tmp_path / "model", kind, eos_token="</s>", bos_token="<s>", pad_token="</s>")
    (tmp_path / "seeds.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in SEEDS))
    words = ["--checkpoint", "model", "--inputs", "seeds.jsonl", "--output", "out.jsonl.zst", "--separator", separator]
    words += ["--max-seed-tokens", 12, "--max-new-tokens", 15, "--top-p", 1e-6]
    done = run_tool("synthesize.py", tmp_path, *words)
    assert done.returncode == 0, done.stderr
    rows = list(files.read_jsonl_zst(tmp_path / "out.jsonl.zst"))
    tokenizer, theirs = AutoTokenizer.from_pretrained(model), AutoModelForCausalLM.from_pretrained(model)
    between = tokenizer(separator, add_special_tokens=False)["input_ids"]
    assert (len(between) > 1) == (separator != "<sep>")
    for text, row in zip(SEEDS, rows, strict=True):
        seed = tokenizer(text, add_special_tokens=False)["input_ids"][:12]
        prompt = ([0] if kind == "llama" else []) + seed + between
        banned = {"suppress_tokens": between} if separator == "<sep>" else {}
        with torch.inference_mode():
            expected = theirs.generate(
                torch.tensor([prompt]), do_sample=False, max_new_tokens=15, pad_token_id=1, **banned
            )[0, len(prompt) :].tolist()
        finished = expected[-1] == 1
        own = expected[:-1] if finished else expected
        said = tokenizer.decode(own, skip_special_tokens=True)
        assert row["text"] == (said if finished else said.rstrip("\ufffd"))
        assert (row["tokens"], row["finished"]) == (len(expected), finished)


def test_a_model_that_lacks_a_role_names_the_option(tmp_path):
    model = plain_model(tmp_path / "model", "llama", bos_token="<s>")
    (tmp_path / "seeds.jsonl").write_text('{"text": "good"}\n')

    def refused(*words):
        given = ["--checkpoint", "model", "--inputs", "seeds.jsonl", "--output", "out.jsonl.zst"]
        done = run_tool("synthesize.py", tmp_path, *given, "--max-seed-tokens", 12, "--max-new-tokens", 15, *words)
        assert (done.returncode, done.stdout) == (2, "") and len(done.stderr.splitlines()) == 1
        return done.stderr

    assert "'--end-of-document': 'model' has no eos token" in refused("--separator", "<sep>")
    assert "'model' has no token '<eod>'" in refused("--separator", "<sep>", "--end-of-document", "<eod>")
    assert "'--separator': 'model' has no roles.json" in refused("--end-of-document", "</s>")
    assert "'--separator': is empty" in refused("--end-of-document", "</s>", "--separator", "")
    long = refused("--end-of-document", "</s>", "--separator", "x" * 100)
    assert "'--max-new-tokens': a seed of 12, " in long and "do not fit into the context of 64" in long
    (model / "tokenizer.json").unlink()
    (model / "tokenizer_config.json").unlink()
    assert "'--tokenizer': no tokenizer can be loaded from 'model'" in refused("--separator", "<sep>")
    assert "nowhere: no such folder" in refused("--checkpoint", "nowhere")


def test_a_tokenizer_from_elsewhere(export, make_run, tmp_path):
    """Of a run, beside a checkpoint without one: the same texts as with it inside."""
    shards = [str(make_run("standalone").document_shards("valid")[0])]
    lengths = {"max_seed_tokens": 20, "max_new_tokens": 10, "id_field": "id"}
    synthesize(export, shards, tmp_path / "inside.jsonl.zst", **lengths)
    elsewhere = tmp_path / "tokenizer"
    elsewhere.mkdir()
    for name in ("roles.json", "tokenizer.json", "tokenizer_config.json"):
        (export / name).rename(elsewhere / name)
    synthesize(export, shards, tmp_path / "beside.jsonl.zst", **lengths, tokenizer_source=str(elsewhere))
    assert (tmp_path / "inside.jsonl.zst").read_bytes() == (tmp_path / "beside.jsonl.zst").read_bytes()
