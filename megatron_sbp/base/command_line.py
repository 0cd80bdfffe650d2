"""Options and exit handling shared by the programs in tools/."""

from __future__ import annotations

import argparse
import re
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from megatron_sbp.base.collector import collect_rarely
from megatron_sbp.base.errors import Fault, InputError, told_of
from megatron_sbp.base.open_files import allow_many

FILES = "files or quoted patterns: .jsonl, .jsonl.gz, .jsonl.zst, .parquet; read sorted by path"


def parser(description: str | None) -> argparse.ArgumentParser:
    """A parser that prints a module's docstring verbatim."""
    return argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)


def add_setting(
    options: argparse._ActionsContainer, name: str, default: object, help: str, choices: Sequence[str] | None = None
) -> None:
    """Adds an option with the type of its default; its help shows the default."""
    shown = f"{default:,}" if isinstance(default, int) else f"{default:g}" if isinstance(default, float) else default
    told = f"{help} (default: {shown})".lstrip()
    options.add_argument(f"--{name}", type=type(default), default=default, choices=choices, help=told)


def add_inputs(options: argparse._ActionsContainer, help: str = FILES) -> None:
    """Adds --inputs: one or more files or patterns."""
    options.add_argument("--inputs", nargs="+", required=True, metavar="FILE", help=help)


def add_output(options: argparse._ActionsContainer, metavar: str, help: str | None = None) -> None:
    """Adds --output: a path."""
    options.add_argument("--output", required=True, type=Path, metavar=metavar, help=help)


def add_dataset_output(options: argparse._ActionsContainer) -> None:
    """Adds --output: the prefix of an IndexedDataset."""
    add_output(options, "PREFIX", "writes PREFIX.bin and PREFIX.idx")


def add_tokenizer(options: argparse._ActionsContainer) -> None:
    """Adds --tokenizer: an argument of `open_tokenizer`."""
    options.add_argument("--tokenizer", required=True, help="RUN/tokenizer, or a Hugging Face folder or name")


def add_end_of_document(options: argparse._ActionsContainer, closes: str = "document") -> None:
    """Adds --end-of-document: the token that ends every document."""
    options.add_argument(
        "--end-of-document", metavar="TOKEN", help=f"token that ends a {closes} (default: the eos token)"
    )


def add_text_field(options: argparse._ActionsContainer) -> None:
    """Adds --text-field."""
    options.add_argument("--text-field", default="text", metavar="FIELD", help="field of the text (default: text)")


def add_id_field(options: argparse._ActionsContainer) -> None:
    """Adds --id-field."""
    options.add_argument(
        "--id-field",
        metavar="FIELD",
        help="field of a unique id (default: a digest of the text); all ids are compared first, which takes about 10 "
        "bytes of memory per id",
    )


def add_bad_documents(options: argparse._ActionsContainer) -> None:
    """Adds --bad-documents."""
    options.add_argument(
        "--bad-documents",
        choices=("fatal", "skip"),
        default="fatal",
        help="malformed JSON, missing field, invalid UTF-8: stop, or count and continue (default: fatal)",
    )


def add_seed(options: argparse._ActionsContainer, help: str) -> None:
    """Adds --seed, with the same range as in the recipe."""
    options.add_argument("--seed", type=_seed, default=1, metavar="N", help=f"{help} (default: 1)")


def _seed(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 1 << 32):
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 0 to {(1 << 32) - 1:,}")
    return int(text)


def add_device(options: argparse._ActionsContainer) -> None:
    """Adds --device."""
    options.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="auto: CUDA if available (default: auto)",
    )


@contextmanager
def errors_reported(options: argparse.Namespace | None = None, **renamed: str) -> Iterator[None]:
    """Ends the program with one line on stderr: status 1 for a fault; 2 for invalid input, no space, no permission, or
    a path on the command line that does not exist.

    SIGTERM and Ctrl-C end it as an exception does, so that temporary files are removed: status 143, and 130 with one
    line.

    Args:
        options: of the program. If a library error names a recipe key, the message names the corresponding option
            instead: `--device` for `launch.device`.
        renamed: options with other names, by the last component of the key.
    """
    allow_many()
    collect_rarely()
    usual = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    except InputError as error:
        print(f"error: {_with_option(error, options, renamed)}", file=sys.stderr)
        raise SystemExit(2) from None
    except Fault as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except OSError as error:
        told = told_of(error, vars(options).values() if options else ())
        if told is None:
            raise
        print(f"error: {told}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(128 + signal.SIGINT) from None
    finally:
        signal.signal(signal.SIGTERM, usual)


def _with_option(error: InputError, options: argparse.Namespace | None, renamed: Mapping[str, str]) -> InputError:
    if error.key is None or error.file is not None:  # with a file, the key is one in that file
        return error
    words = re.split(r"[. ]", error.key)
    for name in ("_".join(words), renamed.get(words[-1], words[-1])):
        # An option without a value was not given and has no default, so the value comes from elsewhere: a recipe.
        if getattr(options, name, None) is not None:
            return InputError(error.reason, line=error.line, key=f"--{name.replace('_', '-')}")
    return error
