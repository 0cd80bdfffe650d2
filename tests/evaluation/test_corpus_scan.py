"""What parts of D have is joined to what one pass over all of it finds."""

from __future__ import annotations

import numpy as np
import pytest

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.evaluation.compared import LookedFor, QualityFiles
from megatron_sbp.evaluation.contamination import Contamination
from megatron_sbp.evaluation.corpus_pass import CorpusPass
from megatron_sbp.evaluation.corpus_scan import Part, in_order, join_findings, scan_part
from megatron_sbp.evaluation.shard_reading import read_shards
from megatron_sbp.tokenization.encoding import write_texts

SIZES = (40, 1, 70, 25)


@pytest.fixture(scope="module")
def made(tmp_path_factory, texts, tokenizer):
    """Files, and the file of what is looked for: parts of documents of D, and words that it does not have."""
    folder = tmp_path_factory.mktemp("scan")
    own, begin, shards = [*texts[: sum(SIZES) - 3], *texts[5:8]], 0, []
    for number, size in enumerate(SIZES):
        shards.append(folder / "documents" / "train" / f"{number:05d}.jsonl.zst")
        files.write_jsonl_zst(shards[-1], [{"id": f"d{row}", "text": own[row]} for row in range(begin, begin + size)])
        begin += size
    write_texts(own, folder / "tokens", tokenizer)
    rows = []
    for row, text in enumerate(own[:30]):
        mixed = f"{text[: len(text) // 2]} and then other words that nobody has written {row}"
        for group, one, place in (("real", text, row), ("generations", mixed, -1)):
            tokens = tokenizer.encode_batch([one])[0]
            rows.append({"group": group, "text": one, "own": place, "tokens": tokens, "novelty": True})
    files.write_jsonl_zst(folder / "wanted.jsonl.zst", rows)
    items = {"questions": [*(text for text in own if len(text.split()) > 15)][:5]}
    found = QualityFiles(
        tokenizer=folder,
        documents={"train": shards},
        tokens={"train": folder / "tokens"},
        synthetic=[],
        generations=[shards[0]],  # text that has items
        pairs=None,
        embeddings=folder,
        items=items,
    )
    return found, folder / "wanted.jsonl.zst"


def reading_of(made) -> tuple[CorpusPass, str]:
    found, wanted = made
    looked = LookedFor.of(files.read_jsonl_zst(wanted), 13)
    reading = CorpusPass(found.tokens["train"], looked.overlap, looked.novelty, Contamination(found.items))
    return reading, looked.digest


def figures(reading: CorpusPass) -> dict:
    groups = ("real", "generations")
    overlap = {
        group: {name: count.tolist() for name, count in part.items()}
        for group, part in reading.overlap.counts().items()
    }
    return {"overlap": overlap, "novel": {group: reading.novelty.counts(group).tolist() for group in groups}}


@pytest.fixture(scope="module")
def scanned(made, tmp_path_factory):
    """Gives the files of what parts with so many shards have."""
    found, wanted = made
    shards = found.documents["train"]

    def scan(size: int, name: str = ""):
        folder, outputs = tmp_path_factory.mktemp("found"), []
        for begin in range(0, len(shards), size):
            outputs.append(folder / f"real-{begin:05d}{name}.npz")
            scan_part(Part("real", shards[begin : begin + size], shards[:begin]), found, wanted, 13, outputs[-1])
        return outputs

    return scan


@pytest.mark.parametrize("size", [1, 3, 4])
def test_parts_have_together_what_one_pass_finds(made, scanned, size):
    alone, digest = reading_of(made)
    read_shards(alone, made[0].documents["train"], sum(SIZES), "all of D", 1)
    joined, _ = reading_of(made)
    join_findings(scanned(size)[::-1], joined, digest)
    assert figures(joined) == figures(alone) and joined.items.figures() == alone.items.figures()
    novel = np.array(figures(joined)["novel"]["real"])
    # A text that is in D twice, far apart, has no n-gram of its own: parts must tell which row has one.
    assert (novel[5:8, :, 0] == 0).all() and novel[:5, -1, 0].sum() > 0


def test_synthetic_text_is_read_for_items_only(made, tmp_path):
    found, wanted = made
    output = tmp_path / "generations-00000.npz"
    scan_part(Part("generations", found.generations), found, wanted, 13, output)
    joined, digest = reading_of(made)
    join_findings([output], joined, digest)
    told = joined.items.figures()
    assert list(told["found"]) == ["generations"] and told["texts"]["generations"] >= 1
    assert not np.array(figures(joined)["overlap"]["real"]["corpus_copying"])[:, 0].any()


def test_a_part_comes_out_the_same_twice(scanned):
    one, again = (scanned(3) for _ in range(2))
    assert [file.read_bytes() for file in one] == [file.read_bytes() for file in again]


def test_other_texts_and_damaged_files_are_refused(made, scanned):
    files_ = scanned(4)
    with pytest.raises(InputError, match="other texts"):
        join_findings(files_, reading_of(made)[0], "0" * 64)
    files_[0].write_bytes(files_[0].read_bytes()[:-100])
    reading, digest = reading_of(made)
    with pytest.raises(InputError, match=r"real-00000\.npz.*sbp verify"):
        join_findings(files_, reading, digest)


def test_kinds_are_joined_in_a_fixed_order(tmp_path):
    names = ["generations-00000.npz", "real-00000.npz", "real-00001.npz", "synthetic-00000.npz"]
    ordered = [file.name for file in in_order(tmp_path / name for name in names)]
    assert ordered == [names[1], names[2], names[3], names[0]]
