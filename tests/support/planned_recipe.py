"""A small recipe to plan, and the paper's."""

from __future__ import annotations

from pathlib import Path

from megatron_sbp.recipe import load_recipe

REPOSITORY = Path(__file__).parents[2]

SMALL = """
name: small
documents: {inputs: [x.jsonl], train: 1000, valid: 50, test: 50, oracle: 9000}
tokenizer: {vocab_size: 1000}
model: {num_layers: 2, hidden_size: 64, ffn_hidden_size: 192, num_attention_heads: 4, num_query_groups: 2,
        sequence_length: 128}
training: {train_tokens: 100_000, global_batch_size: 8, micro_batch_size: 4, precision: fp32}
synthesis: {tokens: 30_000, max_new_tokens: 60}
"""


def recipe_of(tmp_path: Path, *overrides: str):
    file = tmp_path / "recipe.yaml"
    file.write_text(SMALL)
    return load_recipe(file, [f"run_folder={tmp_path / 'run'}", *overrides])


def paper(name: str):
    return load_recipe(REPOSITORY / "examples" / name / "recipe.yaml")
