"""The tokenizer of a run in a rank: read without transformers, and to Megatron the same as its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
from support.megatron_ranks import Megatron, environment

from megatron_sbp.base.errors import InputError
from megatron_sbp.training.megatron.vocabulary import OTHER_WAYS, Vocabulary, build_tokenizer


def arguments(folder, **others) -> SimpleNamespace:
    settings = {
        "tokenizer_type": "HuggingFaceTokenizer", "tokenizer_model": str(folder), "pad_vocab_size": True,
        "make_vocab_size_divisible_by": 128, "tensor_model_parallel_size": 2, "rank": 1, "chat_template": None,
        "vocab_file": None, "merge_file": None, "special_tokens": None, "metadata_path": None,
        "tokenizer_hf_no_use_fast": False, "trust_remote_code": False, "tokenizer_hf_no_include_special_tokens": False,
    }  # fmt: skip
    return SimpleNamespace(**{**settings, **others})


@pytest.fixture
def foreign(corpus, tmp_path):
    """The same tokenizer as transformers saves it, which has no roles."""
    shutil.copytree(corpus / "tokenizer", tmp_path / "tokenizer")
    (tmp_path / "tokenizer" / "roles.json").unlink()
    return tmp_path / "tokenizer"


def test_megatrons_own_says_the_same(corpus, foreign):
    args, megatrons = arguments(corpus / "tokenizer"), arguments(foreign)
    found, expected = build_tokenizer(args), build_tokenizer(megatrons)
    assert isinstance(found, Vocabulary) and not isinstance(expected, Vocabulary)
    assert (found.vocab_size, found.eod, found.pad) == (expected.vocab_size, expected.eod, expected.pad) == (300, 0, 1)
    assert args.padded_vocab_size == megatrons.padded_vocab_size == 512


def test_the_size_of_a_checkpoint_stays(corpus):
    args = arguments(corpus / "tokenizer", padded_vocab_size=1024)
    assert build_tokenizer(args).vocab_size == 300 and args.padded_vocab_size == 1024


@pytest.mark.parametrize("name", OTHER_WAYS)
def test_who_asks_for_more_gets_megatrons_own(corpus, monkeypatch, name):
    asked = []
    monkeypatch.setattr("megatron.core.tokenizers.utils.build_tokenizer.build_tokenizer", asked.append)
    args = arguments(corpus / "tokenizer", **{name: "something"})
    assert build_tokenizer(args) is None and asked == [args]


def test_a_damaged_one_is_named(corpus, tmp_path):
    shutil.copytree(corpus / "tokenizer", tmp_path / "tokenizer")
    (tmp_path / "tokenizer" / "tokenizer.json").write_text("{")
    with pytest.raises(InputError, match="not a tokenizer"):
        build_tokenizer(arguments(tmp_path / "tokenizer"))


RANK = """
import sys
from megatron_sbp.training.pretrain import main
status = main()
print("imported", sorted({"transformers", "sentencepiece", "tiktoken"} & set(sys.modules)))
sys.exit(status)
"""


def test_a_rank_does_without_transformers(corpus, tmp_path):
    """Its import opens thousands of files, in every one of a thousand ranks."""
    megatron = Megatron(corpus, tmp_path)
    megatron.data("one", {"real": 16})
    alone = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    done = subprocess.run(
        [sys.executable, "-c", RANK, *megatron.arguments("one", 16)],
        env={**environment(), **alone}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "imported []" in done.stdout and list(megatron.losses("one")) == [1, 2]
