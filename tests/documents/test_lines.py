from __future__ import annotations

import gzip

import pytest
import zstandard

from megatron_sbp.base.errors import InputError
from megatron_sbp.documents.lines import read_lines

# Longer than a chunk of the reader, hard to compress, and with lines longer than a chunk.
LINES = [b"%d " % n * (n % 97) for n in range(3000)] + [b"x" * 200_000, b"", b"end"]
TEXT = b"\n".join(LINES) + b"\n"


def frames(compress, parts: int = 3) -> bytes:
    size = len(TEXT) // parts + 1
    return b"".join(compress(TEXT[place : place + size]) for place in range(0, len(TEXT), size))


def compressed(suffix: str) -> bytes:
    return frames(gzip.compress if suffix == ".gz" else zstandard.ZstdCompressor().compress)


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_gives_the_lines(tmp_path, suffix):
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(compressed(suffix) if suffix else TEXT)
    read: list[int] = []
    assert list(read_lines(path, read.append)) == LINES
    assert sum(read) == path.stat().st_size


def test_last_line_needs_no_line_feed(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"one\ntwo")
    assert list(read_lines(path)) == [b"one", b"two"]
    path.write_bytes(b"")
    assert list(read_lines(path)) == []


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("cut", [0, 1, 5, 0.1, 0.33, 0.5, 0.9, -9, -1])
def test_truncated_files_are_errors_that_name_the_line(tmp_path, suffix, cut):
    data = compressed(suffix)
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(data[: int(cut * len(data)) if isinstance(cut, float) else cut])
    whole = []
    with pytest.raises(InputError, match="truncated") as caught:
        whole.extend(read_lines(path))
    assert caught.value.file == path
    # What was given before the error is right, and the error names the line after it.
    got = []
    lines = read_lines(path)
    with pytest.raises(InputError):
        for line in lines:
            got.append(line)
    assert got == LINES[: len(got)]
    assert caught.value.line == len(got) + 1
    if cut == 0.5:
        assert got


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_damage_is_an_error(tmp_path, suffix):
    data = bytearray(
        frames(gzip.compress if suffix == ".gz" else zstandard.ZstdCompressor(write_checksum=True).compress)
    )
    for place in range(len(data) // 2, len(data) // 2 + 40):
        data[place] ^= 0x55
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"damaged|truncated") as caught:
        list(read_lines(path))
    assert caught.value.line


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_other_content_under_that_name_is_an_error(tmp_path, suffix):
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(b'{"text": "plain"}\n')
    with pytest.raises(InputError, match="damaged"):
        list(read_lines(path))


def test_zero_padding_behind_gzip_is_allowed(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b"one\n") + bytes(512) + gzip.compress(b"two\n") + bytes(100_000))
    assert list(read_lines(path)) == [b"one", b"two"]


def test_streamed_zstd_without_content_size_and_with_skippable_frame(tmp_path):
    path = tmp_path / "a.jsonl.zst"
    stream = zstandard.ZstdCompressor().compressobj()
    skippable = (0x184D2A50).to_bytes(4, "little") + (5).to_bytes(4, "little") + b"hello"
    path.write_bytes(stream.compress(b"one\n") + stream.flush() + skippable + zstandard.compress(b"two\n"))
    assert list(read_lines(path)) == [b"one", b"two"]


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        list(read_lines(tmp_path / "a.jsonl"))
