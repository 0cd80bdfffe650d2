"""Tokens cut out of a joint dataset: those of the very text, or none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from megatron_sbp.base import files
from megatron_sbp.tokenization.encoding import TextCounts
from megatron_sbp.tokenization.former_parts import cut_part, join_sources, note_source, source_of
from megatron_sbp.tokenization.indexed import counts_file, data_file, index_file, merge_indexed, write_indexed

PARTS = {"00000": [3, 1, 2], "00001": [], "00002": [5, 4]}
"""Tokens of each document of each part."""


@pytest.fixture
def joined(tmp_path) -> list[Path]:
    """A dataset JOINT of three parts, and PARTS.json; gives the parts' prefixes."""
    prefixes = []
    for number, (name, lengths) in enumerate(PARTS.items()):
        prefix = tmp_path / "parts" / name
        prefix.parent.mkdir(exist_ok=True)
        tokens = np.arange(sum(lengths), dtype=np.uint16) + 100 * number
        with write_indexed(prefix, np.uint16) as writer:
            writer.add(tokens, np.array(lengths, np.int32))
        files.write_json(counts_file(prefix), TextCounts(len(lengths), tokens.size, 7, 7).__dict__)
        note_source(prefix, f"source of {name}")
        prefixes.append(prefix)
    merge_indexed(tmp_path / "joint", prefixes, np.uint16)
    join_sources(tmp_path / "parts.json", prefixes)
    return prefixes


def cut(folder: Path, name: str, source: str) -> list[Path]:
    (folder / "again").mkdir(exist_ok=True)
    return cut_part(folder / "joint", folder / "parts.json", folder / "again" / name, source)


def test_every_part_comes_back_byte_for_byte(joined, tmp_path):
    for prefix in joined:
        written = cut(tmp_path, prefix.name, f"source of {prefix.name}")
        assert [path.name for path in written] == [f"{prefix.name}.{end}" for end in ("bin", "idx", "json")]
        for of in (data_file, index_file, counts_file):
            assert of(tmp_path / "again" / prefix.name).read_bytes() == of(prefix).read_bytes()


def damage_tokens(folder: Path) -> None:
    content = bytearray((folder / "joint.bin").read_bytes())
    content[1] ^= 1
    (folder / "joint.bin").write_bytes(content)


def edit_parts(**changed):
    def edit(folder: Path) -> None:
        notes = files.read_json(folder / "parts.json")
        files.write_json(folder / "parts.json", [{**notes[0], **changed}, *notes[1:]])

    return edit


@pytest.mark.parametrize(
    "damage",
    [
        damage_tokens,
        lambda folder: (folder / "joint.bin").write_bytes((folder / "joint.bin").read_bytes()[:-2]),
        lambda folder: (folder / "joint.bin").unlink(),
        lambda folder: (folder / "joint.idx").unlink(),
        lambda folder: (folder / "joint.idx").write_bytes((folder / "joint.idx").read_bytes()[:40]),
        lambda folder: (folder / "parts.json").unlink(),
        lambda folder: (folder / "parts.json").write_text('[{"part": "00000"}, 7]'),
        lambda folder: (folder / "parts.json").write_text("{"),
        edit_parts(source="of another text"),
        edit_parts(documents=2),
        edit_parts(documents="three"),
        edit_parts(sha256="0" * 64),
        lambda folder: (folder / "parts.json").write_text(
            '[{"part": "00000", "source": "source of 00000", "documents": 3}]'
        ),
    ],
)
def test_what_is_not_certain_is_not_taken(joined, tmp_path, damage):
    damage(tmp_path)
    assert cut(tmp_path, "00000", "source of 00000") == [] and not list((tmp_path / "again").iterdir())


def test_another_text_another_tokenizer_and_a_further_part(joined, tmp_path):
    assert cut(tmp_path, "00000", "source of 00001") == [] and cut(tmp_path, "00003", "source of 00003") == []
    tokenizer, shard, other = tmp_path / "tokenizer", tmp_path / "shard", tmp_path / "other"
    tokenizer.mkdir()
    for path, text in ((tokenizer / "tokenizer.json", "one"), (shard, "a"), (other, "b")):
        path.write_text(text)
    before = source_of(shard, tokenizer)
    assert before == source_of(shard, tokenizer) != source_of(other, tokenizer)
    (tokenizer / "tokenizer.json").write_text("two")
    assert source_of(shard, tokenizer) != before
