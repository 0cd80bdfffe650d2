"""Records of finished shards: what they are believed, and what makes them worthless."""

from __future__ import annotations

from megatron_sbp.base import files
from megatron_sbp.synthesis.shard_record import is_written, read_record, record_of, write_record
from megatron_sbp.synthesis.tally import Tally


def test_a_record_holds_for_these_bytes_of_these_texts_alone(tmp_path):
    output, tally = tmp_path / "00000.jsonl.zst", Tally(texts=3, seconds=1.5)
    assert not is_written(output, "x")
    files.write_jsonl_zst(output, [{"text": "a"}])
    assert not is_written(output, "x") and read_record(record_of(output)) is None
    write_record(output, "x", tally)
    assert is_written(output, "x") and not is_written(output, "y")
    found = read_record(record_of(output))
    assert found is not None and found.tally == tally and found.sha256 == files.sha256(output)
    files.write_jsonl_zst(output, [{"text": "b"}])
    assert not is_written(output, "x")
    output.unlink()
    assert not is_written(output, "x")


def test_something_else_in_its_place_is_no_record(tmp_path):
    output = tmp_path / "00000.jsonl.zst"
    files.write_jsonl_zst(output, [{"text": "a"}])
    write_record(output, "x", Tally())
    good = files.read_json(record_of(output))
    for bad in ("{", "[]", "{}"):
        record_of(output).write_text(bad)
        assert read_record(record_of(output)) is None and not is_written(output, "x")
    for key in good:
        files.write_json(record_of(output), {**good, key: 1})
        assert read_record(record_of(output)) is None
