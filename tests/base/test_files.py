"""Files are whole or not there, and their bytes follow from their content."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import zstandard

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_atomic_path_keeps_the_old_file_on_error(tmp_path):
    path = tmp_path / "deep" / "a.json.zst"
    files.write_text(path, "old")
    with pytest.raises(RuntimeError), files.atomic_path(path) as partial:
        assert partial.parent == path.parent and partial.name.endswith(".json.zst") and partial != path
        partial.write_text("half of the n")
        raise RuntimeError
    assert path.read_text() == "old"
    assert names(path.parent) == ["a.json.zst"]


def test_killed_writer_leaves_the_old_file(tmp_path):
    """SIGKILL in the middle of a write: the old file stays, and the next writer clears the rest away."""
    path = tmp_path / "a.txt"
    files.write_text(path, "old")
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom megatron_sbp.base import files\n"
        "with files.atomic_path(Path(sys.argv[1])) as partial:\n"
        "    file = open(partial, 'w'); file.write('new'); file.flush(); print('here', flush=True); time.sleep(60)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE)
    writer.stdout.readline()
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert path.read_text() == "old" and len(names(tmp_path)) == 2
    files.write_text(path, "newer")
    assert path.read_text() == "newer" and names(tmp_path) == ["a.txt"]


def test_json_round_trip_and_refusals(tmp_path):
    path = tmp_path / "a.json"
    value = {"ä": [1, 2.5, None, "\u2028"], "b": {}}
    files.write_json(path, value)
    assert files.read_json(path) == value
    with pytest.raises(ValueError):
        files.write_json(path, {"x": float("nan")})
    assert files.read_json(path) == value
    path.write_text('{"a": ')
    with pytest.raises(InputError, match=r"a\.json: not valid JSON"):
        files.read_json(path)
    path.write_bytes(b'"\xff"')
    with pytest.raises(InputError, match="not valid JSON"):
        files.read_json(path)
    with pytest.raises(InputError, match="is a folder, not a file"):
        files.read_json(tmp_path)


def test_jsonl_zst_has_the_same_bytes_for_the_same_rows(tmp_path):
    rows = [{"id": str(number), "text": f"Zeile {number} – ü\n\t" * (number % 7)} for number in range(2000)]
    first, second = tmp_path / "first.jsonl.zst", tmp_path / "second.jsonl.zst"
    assert files.write_jsonl_zst(first, rows) == 2000
    time.sleep(0.01)
    assert files.write_jsonl_zst(second, iter(rows)) == 2000
    assert first.read_bytes() == second.read_bytes() and files.sha256(first) == files.sha256(second)
    assert list(files.read_jsonl_zst(first)) == rows
    empty = tmp_path / "empty.jsonl.zst"
    assert files.write_jsonl_zst(empty, []) == 0
    assert list(files.read_jsonl_zst(empty)) == []


def test_open_lines_reads_plain_gzip_and_concatenated_zstd(tmp_path):
    lines = [json.dumps({"n": number}).encode() + b"\n" for number in range(10)]
    (tmp_path / "a.jsonl").write_bytes(b"".join(lines))
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b"".join(lines[:5])) + gzip.compress(b"".join(lines[5:])))
    packed = zstandard.ZstdCompressor().compress
    (tmp_path / "a.jsonl.zst").write_bytes(packed(b"".join(lines[:5])) + packed(b"".join(lines[5:])))
    for name in ("a.jsonl", "a.jsonl.gz", "a.jsonl.zst"):
        with files.open_lines(tmp_path / name) as found:
            assert list(found) == lines


def test_truncated_zstd_is_noticed(tmp_path):
    """A file cut off in the middle must not pass for a shorter one."""
    path = tmp_path / "a.jsonl.zst"
    files.write_jsonl_zst(path, [{"text": os.urandom(500).hex()} for _ in range(500)])
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises((zstandard.ZstdError, json.JSONDecodeError, EOFError, InputError)):
        list(files.read_jsonl_zst(path))


def test_digest_does_not_depend_on_the_order_of_keys():
    assert files.digest({"a": 1, "b": [1, 2]}) == files.digest({"b": [1, 2], "a": 1})
    assert files.digest({"a": 1}) != files.digest({"a": "1"})
    assert files.digest([1, 2]) != files.digest([2, 1])


def test_the_home_folder_where_there_is_one(monkeypatch):
    """Else Path.expanduser raises RuntimeError: a recipe with `~somebody` was a traceback."""
    monkeypatch.setenv("HOME", "/home/me")
    assert files.home_expanded("~/x") == "/home/me/x" and files.home_expanded("a/~") == "a/~"
    assert files.home_expanded("~nobody-of-this-name/x") == "~nobody-of-this-name/x"


def test_names_that_are_not_utf8():
    assert files.is_utf8(Path("\u00e9")) and not files.is_utf8(Path(os.fsdecode(b"caf\xe9")))


@pytest.mark.parametrize("size", [0, 1, 3 << 20, (3 << 20) + 7])
def test_a_digest_of_so_many_bytes_ends_whether_or_not_the_file_does(tmp_path, size):
    """A file that is written as fast as it is read has no end."""
    expected = hashlib.sha256(bytes(size)).hexdigest()
    assert files.sha256(Path("/dev/zero"), size) == expected
    (tmp_path / "zeros").write_bytes(bytes(size))
    assert files.sha256(tmp_path / "zeros", size) == files.sha256(tmp_path / "zeros") == expected
    assert files.sha256(tmp_path / "zeros", size + 10) == expected


def test_a_folder_of_many_files_is_not_looked_through_at_every_write(tmp_path, monkeypatch):
    looks, scan = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda folder: [looks.append(folder), scan(folder)][1])
    for number in range(1001):
        (tmp_path / f"{number}.json").touch()
    left = tmp_path / f".5.{files._machine()}-{2**22 + 1}-0.partial.json"  # more than Linux numbers processes
    left.touch()
    for number in range(50):
        files.write_json(tmp_path / f"{number}.json", number)
    assert len(looks) == 1 and not left.exists()
