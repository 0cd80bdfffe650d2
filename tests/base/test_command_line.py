"""Options that the programs in tools/ share, and their exit status."""

from __future__ import annotations

import errno
import os
import signal
import tempfile
from argparse import Namespace
from pathlib import Path

import pytest

from megatron_sbp.base import command_line as shared
from megatron_sbp.base.errors import Fault, InputError


@pytest.mark.parametrize(("error", "status"), [(InputError("bad", file="x.jsonl", line=3), 2), (Fault("broken"), 1)])
def test_errors_are_one_line_and_a_status(capsys, error, status):
    with pytest.raises(SystemExit) as left, shared.errors_reported():
        raise error
    assert left.value.code == status
    said = capsys.readouterr().err
    assert said == f"error: {error}\n" and "Traceback" not in said


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (InputError("is cuda", key="launch.device"), "'--device': is cuda"),
        (InputError("not one", key="embedding.engine"), "'--embedding-engine': not one"),
        (InputError("not one", key="neighbors.engine"), "'--engine': not one"),
        (InputError("bad", key="train samples"), "'--train-samples': bad"),
        (InputError("bad", key="sequence_length"), "'--context': bad"),
        (InputError("bad", key="model.num_layers"), "'model.num_layers': bad"),  # of a recipe: the option is not given
        (InputError("bad", key="embedding.vllm.gpu_memory"), "'embedding.vllm.gpu_memory': bad"),
        (InputError("is missing", file="x.jsonl", line=3, key="device"), "x.jsonl:3: 'device': is missing"),
    ],
)
def test_errors_name_the_option_for_a_recipes_key(capsys, error, said):
    options = Namespace(
        device="cuda", embedding_engine="vllm", engine="scann", train_samples=0, num_layers=None, context=0
    )
    with pytest.raises(SystemExit), shared.errors_reported(options, sequence_length="context"):
        raise error
    assert capsys.readouterr().err == f"error: {said}\n"


def test_bugs_keep_their_trace():
    with pytest.raises(AssertionError), shared.errors_reported():
        raise AssertionError


def test_a_signal_leaves_no_temporary_file(tmp_path):
    usual = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as left, shared.errors_reported():
        with tempfile.TemporaryDirectory(dir=tmp_path):
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
    assert left.value.code == 143 and list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) == usual


def test_an_interrupt_is_one_line(capsys):
    with pytest.raises(SystemExit) as left, shared.errors_reported():
        os.kill(os.getpid(), signal.SIGINT)
        signal.pause()
    assert left.value.code == 130 and capsys.readouterr().err == "interrupted\n"


def test_options():
    options = shared.parser("What it does.\n  As written.")
    shared.add_inputs(options)
    shared.add_dataset_output(options)
    shared.add_tokenizer(options)
    shared.add_end_of_document(options)
    shared.add_text_field(options)
    shared.add_id_field(options)
    shared.add_bad_documents(options)
    shared.add_device(options)
    assert "  As written." in options.format_help()
    found = options.parse_args(["--inputs", "a", "b*", "--output", "o/p", "--tokenizer", "t"])
    assert (found.inputs, found.output, found.text_field, found.id_field) == (["a", "b*"], Path("o/p"), "text", None)
    assert (found.bad_documents, found.device, found.end_of_document) == ("fatal", "auto", None)
    with pytest.raises(SystemExit):
        options.parse_args(["--inputs", "a", "--output", "o", "--tokenizer", "t", "--bad-documents", "ignore"])


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            OSError(errno.ENOSPC, "No space", "/data/a.bin"),
            "error: the disk is full while writing /data/a.bin;",
        ),
        (PermissionError(errno.EACCES, "Permission denied", "/data/a"), "error: /data/a: Permission denied\n"),
    ],
)
def test_no_room_and_a_path_that_is_gone_are_no_tracebacks(error, told, capsys):
    with pytest.raises(SystemExit) as left, shared.errors_reported():
        raise error
    assert left.value.code == 2 and capsys.readouterr().err.startswith(told)
    with pytest.raises(OSError), shared.errors_reported():
        raise OSError(errno.EIO, "Input/output error")


def test_a_path_on_the_command_line_that_is_lost_is_no_traceback_and_one_of_ours_is(tmp_path, capsys):
    options = Namespace(inputs=[tmp_path / "gone" / "a.jsonl"], output=str(tmp_path / "b"), seed=1)
    for path in (tmp_path / "gone" / "a.jsonl", tmp_path / "gone"):
        with pytest.raises(SystemExit) as left, shared.errors_reported(options):
            path.read_text()
        assert left.value.code == 2
        assert capsys.readouterr().err == f"error: {path}: No such file or directory\n"
    with pytest.raises(FileNotFoundError), shared.errors_reported(options):
        (tmp_path / "b" / "part.json").read_text()
