"""Recipes: what is refused, with the place named, and what is understood."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from megatron_sbp.base.errors import InputError
from megatron_sbp.recipe import Neighbors, dump_recipe, load_recipe, make_section

REPOSITORY = Path(__file__).parents[2]
EXAMPLES = sorted((REPOSITORY / "examples").glob("*/recipe.yaml"))
GOOD = """\
name: small
documents:
  inputs: [x.jsonl]
  train: 1000
  valid: 50
  test: 50
tokenizer: {}
model:
  num_layers: 2
  hidden_size: 64
  ffn_hidden_size: 192
  num_attention_heads: 4
  num_query_groups: 2
  sequence_length: 128
training:
  train_tokens: 1e5
  global_batch_size: 8
  micro_batch_size: 4
tuning:
  global_batch_size: 8
synthesis:
  tokens: 30_000
"""


def write(folder: Path, text: str = GOOD) -> Path:
    file = folder / "recipe.yaml"
    file.write_text(text)
    return file


def refused(file: Path, *overrides: str) -> InputError:
    with pytest.raises(InputError) as caught:
        load_recipe(file, overrides)
    return caught.value


def test_good_recipe(tmp_path):
    recipe = load_recipe(write(tmp_path))
    assert recipe.training.train_tokens == 100_000 and isinstance(recipe.training.train_tokens, int)
    assert recipe.synthesis.tokens == 30_000
    assert recipe.model.head_size == 16
    assert (recipe.max_seed_tokens, recipe.max_target_tokens, recipe.max_new_tokens) == (64, 62, 63)
    assert recipe.folder == tmp_path.resolve()


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "words"),
    [
        ("  tokens: 3", "  draws_per_shard: 8\n  tokens: 3", 22, "synthesis.draws_per_shard", "generations_per_shard'"),
        ("  hidden_size: 64", "  hiden_size: 64", 10, "model.hiden_size", "did you mean 'model.hidden_size'"),
        ("tuning:", "tunning:", 19, "tunning", "did you mean 'tuning'"),
        ("  train: 1000", "  train: many", 4, "documents.train", "must be a whole number, not 'many'"),
        ("  train: 1000", "  train: 10.5", 4, "documents.train", "must be a whole number, not 10.5"),
        ("  train: 1000", "  train: true", 4, "documents.train", "must be a whole number, not True"),
        ("  train: 1000", "  train: .inf", 4, "documents.train", "must be a whole number"),
        ("  train: 1000", "  train: 0", 4, "documents.train", "must be above 0, not 0"),
        ("inputs: [x.jsonl]", "inputs: x.jsonl", 3, "documents.inputs", "must be a list, not 'x.jsonl'"),
        ("inputs: [x.jsonl]", "inputs: []", 3, "documents.inputs", "names no file"),
        ("name: small", "name: [a]", 1, "name", "must be a string"),
        ("name: small", "name: 12", 1, "name", 'must be a string, not the number 12 (write "12")'),
        ("name: small", "name: yes", 1, "name", "must be a string, not true (write it in quotes)"),
        ("name: small", "name: small\nslurm: {time: foo}", 2, "slurm.time", "must be a time limit of Slurm (minutes"),
        ("name: small", "name: a/b", 1, "name", "1 to 100 characters"),
        ("tokenizer: {}", "tokenizer: gpt2", 7, "tokenizer", "section with keys of its own"),
        ("  valid: 50\n", "", 2, "documents.valid", "is missing and has no default"),
        ("  num_attention_heads: 4", "  num_attention_heads: 3", 12, "model.num_attention_heads", "does not divide"),
        ("  num_query_groups: 2", "  num_query_groups: 3", 13, "model.num_query_groups", "does not divide 4 heads"),
        ("  micro_batch_size: 4", "  micro_batch_size: 3", 17, "training.global_batch_size", "not a multiple"),
        ("  tokens: 30_000", "  tokens: 100_000", 22, "synthesis.tokens", "must be below training.train_tokens"),
        ("  tokens: 30_000", "  tokens: 1", 22, "synthesis.tokens", "do not fill one sequence of"),
    ],
)
def test_refused_with_file_line_and_key(tmp_path, old, new, line, key, words):
    assert old in GOOD
    error = refused(write(tmp_path, GOOD.replace(old, new)))
    assert error.file == tmp_path / "recipe.yaml"
    assert (error.line, error.key) == (line, key)
    assert words in str(error)


def test_contradictions(tmp_path):
    file = write(tmp_path)
    assert "3 does not divide" in str(refused(file, "launch.tensor_parallel=3"))
    assert "does not divide 2 layers" in str(refused(file, "launch.pipeline_parallel=4"))
    assert "not a multiple of tensor x pipeline" in str(refused(file, "launch.tensor_parallel=2"))
    assert "of 128" in str(refused(file, "tuning.sequence_length=256", "tuning.max_target_tokens=100"))
    assert "do not fit" in str(refused(file, "tuning.max_seed_tokens=100", "tuning.max_target_tokens=100"))
    without_room = str(refused(file, "tuning.max_seed_tokens=4000"))
    assert "a seed of 4000 and 2 special tokens leave no room for a target in a sequence of 128" in without_room
    choice = str(refused(file, "evaluation.choice_context=100", "evaluation.choice_continuation=29"))
    assert "'evaluation.choice_context': a context of 100 and evaluation.choice_continuation 29 do not fit" in choice
    assert choice.endswith("into model.sequence_length 128")
    assert "do not fit" in str(refused(file, "synthesis.max_new_tokens=100"))
    assert "above the peak" in str(refused(file, "training.min_learning_rate=1"))
    assert "not above alpha" in str(refused(file, "pairs.max_similarity=0.5"))
    assert "between -1 and 1" in str(refused(file, "pairs.alpha=2"))
    assert "259 or more" in str(refused(file, "tokenizer.vocab_size=258"))
    assert "tokenizer.end_of_document already" in str(refused(file, "tokenizer.padding=<|endoftext|>"))
    assert "must be even" in str(refused(file, "model.kv_channels=15"))
    assert "vLLM takes 2 at most" in str(refused(file, "synthesis.temperature=2.5", "synthesis.engine=vllm"))
    words = ("launch.device=cpu", "launch.context_parallel=2", "launch.ranks_per_node=2")
    assert "needs Transformer Engine" in str(refused(file, *words))
    assert "between 0 and 1" in str(refused(file, "filter.max_copying=1.5"))
    assert "between 1 and 1,000" in str(refused(file, "synthesis.margin=0.5"))
    assert "one of scann, exact" in str(refused(file, "neighbors.engine=faiss"))
    assert "not a recipe key" in str(refused(file, "marks={pairs.beta: S}"))


def test_overrides(tmp_path):
    file = write(tmp_path)
    words = [
        "training.learning_rate=1e-3",
        "seed=7",
        "embedding.prompt=a: b=c",
        "documents.inputs=[a.jsonl, b.parquet]",
    ]
    with pytest.raises(InputError):  # `a: b=c` is a mapping to YAML
        load_recipe(file, words)
    words[2] = "embedding.prompt='a: b=c'"
    recipe = load_recipe(file, words)
    assert recipe.training.learning_rate == 0.001
    assert recipe.seed == 7
    assert recipe.embedding.prompt == "a: b=c"
    assert recipe.documents.inputs == ["a.jsonl", "b.parquet"]
    assert load_recipe(file, ["slurm.partition=gpu", "slurm.partition=null"]).slurm.partition is None
    assert load_recipe(file, ["synthesis.tokens_per_generation="]).synthesis.tokens_per_generation is None


def test_overrides_are_blamed_on_the_command_line(tmp_path):
    file = write(tmp_path)
    error = refused(file, "traning.seed=1")
    assert error.file == "command line" and error.line is None and "did you mean 'training'" in str(error)
    error = refused(file, "training.train_tokens=lots")
    assert error.file == "command line" and "'lots'" in str(error)
    assert refused(file, "seed").file == "command line"
    assert "is not a section" in str(refused(file, "name.x=1"))
    assert "not valid YAML" in str(refused(file, "seed=[1"))
    # an override cannot be blamed on the line that it replaced
    assert refused(file, "documents.train=0").line is None


def test_unreadable_files(tmp_path):
    assert "no such recipe or run folder" in str(refused(tmp_path / "none.yaml"))
    assert "cannot be read" in str(refused(tmp_path))
    file = write(tmp_path, "name: [a\nb: c")
    error = refused(file)
    assert "not valid YAML" in str(error) and error.line == 2
    assert "mapping" in str(refused(write(tmp_path, "- a\n- b\n")))
    assert "mapping" in str(refused(write(tmp_path, "")))
    file.write_bytes(b"name: \xff\n")
    assert "cannot be read" in str(refused(file))
    error = refused(write(tmp_path, GOOD + "  margin: 2\n  margin: 3\n"))
    assert "twice" in str(error) and error.line == 24


def test_control_characters_are_refused(tmp_path):
    """YAML's reader raises an error of another kind for them."""
    error = refused(write(tmp_path, "name: a\x07b\n"))
    assert "YAML" in str(error)


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.parent.name)
def test_examples_load_and_survive_a_round_trip(file, tmp_path):
    recipe = load_recipe(file)
    again = load_recipe(write(tmp_path, dump_recipe(recipe)))
    assert again.to_dict() == recipe.to_dict()


def test_round_trip_with_odd_values(tmp_path):
    words = ["note='häßlich: \"x\" # y'", "training.adam_eps=1e-12", "training.megatron={lr-decay-style: WSD, a: null}"]
    recipe = load_recipe(write(tmp_path), words)
    again = load_recipe(write(tmp_path, dump_recipe(recipe)))
    assert again.to_dict() == recipe.to_dict()
    assert again.training.adam_eps == 1e-12 and again.note.startswith("häßlich")


@pytest.mark.parametrize("name", ["sbp_3b_200b", "sbp_3b_1t", "sbp_6b_1t"])
def test_paper_recipes_mark_every_value(name):
    """Every value of the experiment has a mark, and the comment behind it says the same one."""
    file = REPOSITORY / "examples" / name / "recipe.yaml"
    tree = yaml.safe_load(file.read_text())
    marks = tree["marks"]
    sections = [section for section in tree if isinstance(tree[section], dict)]
    wanted = {f"{section}.{key}" for section in sections for key in tree[section]} | {"seed"}
    wanted |= {f"evaluation.harness.{key}" for key in tree["evaluation"]["harness"]}
    own = {"documents.inputs", "evaluation.harness", "evaluation.harness.task_folder"}
    wanted = {key for key in wanted if key.split(".")[0] not in ("marks", "launch", "slurm")} - own
    assert set(marks) == wanted
    assert set(marks.values()) <= {"V", "S2", "S", "A", "M", "O"}
    within: list[str] = []
    for line in file.read_text().split("\nmarks:")[0].splitlines():
        found = re.match(r"( *)(\w+):(?: .*?  # (\w+))?", line)
        if found:
            within[len(found[1]) // 2 :] = [found[2]]
            key = ".".join(within)
            if key in marks:
                assert found[3] == marks.pop(key), line
    assert not marks  # none without a comment


def test_types_of_numbers(tmp_path):
    """Settings have digests: 1 and 1.0 are different values in them."""
    words = ["training.learning_rate=1", "training.train_tokens=2.0e5", "training.megatron={a: 1, b: 1.0, c: '1e3'}"]
    recipe = load_recipe(write(tmp_path), words).to_dict()
    assert str(recipe["training"]["learning_rate"]) == "1.0" and str(recipe["training"]["train_tokens"]) == "200000"
    assert str(recipe["training"]["megatron"]) == "{'a': 1, 'b': 1.0, 'c': '1e3'}"


def test_packed_sequences_may_be_longer_than_the_model_but_pairs_are_not(tmp_path):
    recipe = load_recipe(write(tmp_path), ["tuning.sequence_length=512"])
    assert recipe.tuning_sequence_length == 512 and recipe.pair_room == recipe.model.sequence_length == 128
    assert recipe.max_seed_tokens + recipe.max_target_tokens + 2 == 128
    shorter = load_recipe(write(tmp_path), ["tuning.sequence_length=64", "synthesis.max_new_tokens=20"])
    assert shorter.pair_room == 64


def test_a_section_from_values_that_no_recipe_holds():
    assert make_section(Neighbors, k=3, engine="exact") == Neighbors(k=3, engine="exact")
    with pytest.raises(InputError, match="'k': must be above 0, not 0"):
        make_section(Neighbors, k=0)
