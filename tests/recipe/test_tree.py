"""Constructs of YAML that no recipe needs are refused quickly, with file and line."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time

import pytest

from megatron_sbp.base.errors import InputError
from megatron_sbp.recipe import load_recipe
from megatron_sbp.recipe.tree import MAX_BYTES, MAX_DEPTH, parse_tree

BOMB = "a: &a [x, x]\n" + "".join(f"{c}: &{c} [*{p}, *{p}, *{p}, *{p}]\n" for p, c in itertools.pairwise("abcdefghi"))


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (BOMB, 1, "aliases and anchors"),
        ("name: x\nnote: *a\n", 2, "aliases and anchors"),
        ("a: &a\n  b: *a\n", 1, "aliases and anchors"),
        ("name: x\nnote: !!python/object/apply:os.system ['touch x']\n", 2, "tags"),
        ("name: !mine x\n", 1, "tags"),
        ("name: x\nnote: " + "[" * 3000, 2, f"nested deeper than {MAX_DEPTH} levels"),
        ("name: x\nnote: " + "{a: " * 3000, 2, "nested deeper"),
        ("- " * 3000 + "x", 1, "nested deeper"),
        ("? " * 3000 + "x", 1, "nested deeper"),
        ("name: x\nname: y\n", 2, "'name' is given twice, in line 1 first"),
        ("x: 1\nmodel:\n  a: 1\n  b: 2\n  a: 1\n", 5, "'model.a' is given twice, in line 3 first"),
        ("name: x\n<<: {a: b}\n", 2, "merge keys"),
        ("name: x\n[a]: b\n", 2, "a key must be a string"),
        ("name: x\n---\nname: y\n", 2, "not valid YAML"),
        ("name: x\nseed: 0x_\n", 2, "not a usable number"),
        ("name: x\nseed: 0100\n", 2, "'0100' is an octal number in YAML"),
        ("name: x\ndocuments:\n  train: 012_077_000\n", 3, "'012_077_000' is an octal number"),
        ("name: x\nseed: " + "9" * 5000, 2, "not a usable number"),
        ("name: x\nseed: 0x" + "f" * 5000, 2, "not a usable number"),
        ("name: x\nnote: a\x00b\n", 2, "not valid YAML"),
        ("name: x\nnote: a\x1bb\n", 2, "not valid YAML"),
        ('name: x\nnote: "\\xZZ"\n', 2, "not valid YAML"),
    ],
)
def test_refused_with_file_and_line(tmp_path, text, line, words):
    file = tmp_path / "recipe.yaml"
    file.write_text(text)
    began = time.monotonic()
    with pytest.raises(InputError, match=words) as caught:
        load_recipe(file)
    assert (caught.value.file, caught.value.line) == (file, line)
    assert time.monotonic() - began < 20  # a hang bound; a bomb takes minutes and gigabytes


def test_large_files_and_other_things_than_files(tmp_path):
    file = tmp_path / "recipe.yaml"

    def refused(path) -> str:
        with pytest.raises(InputError) as caught:
            load_recipe(path)
        return str(caught.value)

    file.write_bytes(b"# " + b"x" * 10_000_000)
    assert f"larger than {MAX_BYTES:,} bytes" in refused(file)
    file.write_bytes(b"name: x\nnote: \xff\n")
    assert refused(file) == f"{file}:2: cannot be read (invalid UTF-8 at byte 15)"
    assert refused("/dev/zero") == "/dev/zero: cannot be read (not a regular file)"
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in refused(tmp_path / "pipe")
    assert "cannot be read" in refused(tmp_path)
    assert "cannot be read" in refused(tmp_path / ("x" * 300))
    assert "cannot be read" in refused("a\0b")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "cannot be read" in refused(tmp_path / "loop")
    assert "cannot be read" in refused(file / "below")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.touch(mode=0)
    with pytest.raises(InputError, match="cannot be read"):
        load_recipe(file)


def test_plain_values():
    """Dates and times are texts; what YAML 1.1 understands otherwise stays."""
    tree = parse_tree("a: 2026-13-31\nb: 24:00:00\nc: 1_000\nd: 1e-3\ne: .5\nf: yes\ng: ~\nh: =\n", "x")
    assert tree.plain() == {
        "a": "2026-13-31",
        "b": "24:00:00",
        "c": 1000,
        "d": "1e-3",
        "e": 0.5,
        "f": True,
        "g": None,
        "h": "=",
    }
    assert tree.value["d"].line == 4
    assert parse_tree("", "x") is None


def test_overrides_are_refused_alike(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text("name: x\n")
    for word in ("note=*a", "note=!!python/name:os.system x", "note=" + "[" * 3000, "note=<<: a", "note=\x00"):
        with pytest.raises(InputError) as caught:
            load_recipe(file, [word])
        assert caught.value.file == "command line" and caught.value.key == "note"
    with pytest.raises(InputError, match="nested deeper"):
        load_recipe(file, ["training.megatron" + ".a" * 3000 + "=1"])


def test_the_command_line_says_it_in_one_line(tmp_path):
    (tmp_path / "recipe.yaml").write_text(BOMB)
    done = subprocess.run(
        [sys.executable, "-m", "megatron_sbp", "plan", str(tmp_path / "recipe.yaml")],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "recipe.yaml:1: aliases" in done.stderr


@pytest.mark.parametrize(
    "text, value", [("0", 0), ("0x10", 16), ("1_000", 1000), ("'010'", "010"), ("04:00:00", "04:00:00"), ("08", "08")]
)
def test_what_is_not_octal(text, value):
    found = parse_tree(text, "recipe.yaml")
    assert found is not None and found.value == value
