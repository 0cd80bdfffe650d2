from __future__ import annotations

import pytest
import transformers
from support.tokenized_run import recipe_in
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from megatron_sbp.base.errors import InputError
from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.stages.documents import DocumentsStage
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.tokenizer import TokenizerStage
from megatron_sbp.tokenization.hugging_face import adopt_tokenizer, open_tokenizer
from megatron_sbp.tokenization.tokenizer import load_tokenizer, save_tokenizer

from .conftest import FOLDOC, ROLES


@pytest.fixture
def theirs(tmp_path, foldoc):
    """Makes a tokenizer with a bos token, as others make them: byte-level BPE, template, saved by transformers."""

    def make(**special):
        backend = Tokenizer(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        from tokenizers import decoders, trainers

        backend.decoder = decoders.ByteLevel()
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        tokens = ["<s>", *special.values()]
        trainer = trainers.BpeTrainer(
            vocab_size=500, special_tokens=tokens, initial_alphabet=alphabet, show_progress=False
        )
        backend.train_from_iterator(foldoc, trainer)
        backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
        folder = tmp_path / "theirs"
        saved = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", **special)
        saved.save_pretrained(folder)
        return folder

    return make


def test_own_eos_and_pad_are_used_and_a_separator_is_added(theirs):
    tokenizer = adopt_tokenizer(theirs(eos_token="</s>", pad_token="<pad>"), ROLES)
    assert tokenizer.roles == {"end_of_document": "</s>", "padding": "<pad>", "separator": "<|related|>"}
    assert (tokenizer.end_of_document, tokenizer.padding, tokenizer.separator) == (1, 2, 500)
    assert tokenizer.vocab_size == 501


def test_the_recipes_tokens_win_where_they_exist(theirs):
    tokenizer = adopt_tokenizer(theirs(eos_token="</s>", pad_token="<|endoftext|>"), ROLES)
    assert tokenizer.roles["end_of_document"] == "<|endoftext|>"
    assert tokenizer.roles["padding"] == "<|padding|>"  # its own pad token closes documents now


def test_missing_tokens_are_added(theirs):
    tokenizer = adopt_tokenizer(theirs(), ROLES)
    assert tokenizer.roles == ROLES
    assert (tokenizer.end_of_document, tokenizer.padding, tokenizer.separator) == (500, 501, 502)


def test_padding_that_equals_eos_gets_a_token_of_its_own(theirs):
    folder = theirs(eos_token="</s>")
    saved = transformers.AutoTokenizer.from_pretrained(folder)
    saved.pad_token = "</s>"
    saved.save_pretrained(folder)
    tokenizer = adopt_tokenizer(folder, ROLES)
    assert tokenizer.roles["padding"] == "<|padding|>"


def test_no_bos_anywhere_and_text_is_text(theirs, tmp_path):
    tokenizer = adopt_tokenizer(theirs(eos_token="</s>"), ROLES)
    text = "no <s> here </s> é"
    (ids,) = tokenizer.encode_batch([text])
    assert not {0, 1} & set(ids)
    assert tokenizer.decode([*ids, 1, 0]) == text
    save_tokenizer(tmp_path / "copy", tokenizer)
    again = transformers.AutoTokenizer.from_pretrained(tmp_path / "copy")
    assert 0 not in again("plain text").input_ids
    assert load_tokenizer(tmp_path / "copy").encode_batch([text]) == [ids]


def test_the_stage_copies_a_folder_and_notices_its_changes(theirs, tmp_path):
    folder = theirs(eos_token="</s>")
    run = Run.of(recipe_in(tmp_path, path="theirs"))
    runner = StageRunner(run, TokenizerStage(), [])
    assert runner.execute()  # needs no documents
    assert load_tokenizer(run.tokenizer).roles["end_of_document"] == "</s>"
    assert runner.finished()
    (folder / "tokenizer_config.json").write_text((folder / "tokenizer_config.json").read_text() + "\n")
    assert not runner.finished()


def test_no_tokenizer_there(tmp_path):
    (tmp_path / "empty").mkdir()
    for path, message in (
        ("empty", "no tokenizer in the folder"),
        ("./missing", "no such folder"),
        ("nobody/has-this-tokenizer", "'nobody/has-this-tokenizer' is neither a folder here"),
    ):
        with pytest.raises(InputError, match=f"tokenizer.path.*{message}"):
            StageRunner(Run.of(recipe_in(tmp_path, path=path)), TokenizerStage(), []).execute()


def test_open_tokenizer_adds_nothing(theirs, tmp_path):
    folder = theirs(eos_token="</s>")
    tokenizer = open_tokenizer(str(folder))
    assert (tokenizer.end_of_document, tokenizer.vocab_size) == (1, 500)
    with pytest.raises(InputError, match=r"--end-of-document.*has no token '<\|endoftext\|>'"):
        open_tokenizer(str(folder), "<|endoftext|>")
    with pytest.raises(InputError, match="has no eos token"):
        open_tokenizer(str(theirs()))
    with pytest.raises(InputError, match="no such folder"):
        open_tokenizer(str(tmp_path / "missing"))


def test_the_runs_own_tokenizer_can_be_opened_by_the_tools(tmp_path):
    recipe = recipe_in(tmp_path)
    recipe.documents.inputs = [str(FOLDOC)]
    run = Run.of(recipe)
    for stage in (DocumentsStage(), TokenizerStage()):
        StageRunner(run, stage, []).execute()
    assert open_tokenizer(str(run.tokenizer)).roles == ROLES
    assert open_tokenizer(str(run.tokenizer), "<|related|>").end_of_document == 2
