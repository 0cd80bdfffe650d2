"""Digests of pieces: as defined, of the bytes requested, and different where one byte is."""

from __future__ import annotations

import hashlib

from megatron_sbp.base import files
from megatron_sbp.base.piece_digests import sha256_of_pieces


def test_the_digest_is_that_of_the_digests_of_pieces(tmp_path):
    data = bytes(range(256)) * 10
    (tmp_path / "a").write_bytes(data + b"more")
    for piece in (1, 1000, 2560, 5000):
        expected = hashlib.sha256()
        for begin in range(0, len(data), piece):
            expected.update(hashlib.sha256(data[begin : begin + piece]).digest())
        assert sha256_of_pieces(tmp_path / "a", len(data), piece) == expected.hexdigest()


def test_entries_of_large_outputs(tmp_path, monkeypatch):
    file = tmp_path / "a"
    file.write_bytes(b"0123456789")
    plain = files.describe(file)
    assert (
        plain["sha256"] == hashlib.sha256(b"0123456789").hexdigest() and files.describe(file, in_pieces=True) == plain
    )
    monkeypatch.setattr(files, "LARGE", 9)
    monkeypatch.setattr(files, "PIECE", 4)
    assert files.describe(file) == plain  # of files that others made, the digest stays
    entry = files.describe(file, in_pieces=True)
    assert entry["piece"] == 4 and entry["sha256"] == sha256_of_pieces(file, 10, 4) != plain["sha256"]
    monkeypatch.undo()  # what an entry says decides, whatever is large later
    for known in (plain, entry):
        assert files.mismatch(file, known, read_all=True) is None
    file.write_bytes(b"0123456780")
    for known in (plain, entry):
        assert files.mismatch(file, known, read_all=True)[0].startswith("has the digest")
