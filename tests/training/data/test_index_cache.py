"""Indices that processes share: made once, whole or absent, made again when they are damaged or foreign."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import time
from pathlib import Path

import numpy as np
import pytest

from megatron_sbp.base.errors import InputError
from megatron_sbp.training.data.index_cache import IndexCache

IDENTITY = {"seed": 1, "lengths": "abc"}
ARRAYS = {
    "documents": np.arange(1000, dtype=np.uint32),
    "empty": np.empty(0, np.int64),
    "offsets": np.arange(-3, 7, dtype=np.int32),
}


class Builder:
    """Makes the arrays and counts how often."""

    def __init__(self):
        self.calls = 0

    def __call__(self) -> dict[str, np.ndarray]:
        self.calls += 1
        return ARRAYS


def same(arrays: dict[str, np.ndarray]) -> bool:
    return arrays.keys() == ARRAYS.keys() and all(
        arrays[name].dtype == array.dtype and (arrays[name] == array).all() for name, array in ARRAYS.items()
    )


def test_made_once_and_mapped_read_only(tmp_path):
    build = Builder()
    cache = IndexCache(tmp_path / "new" / "cache")
    assert same(cache.get("real", IDENTITY, build)) and same(cache.get("real", IDENTITY, build))
    assert build.calls == 1
    with pytest.raises(ValueError, match="read-only"):
        cache.get("real", IDENTITY, build)["documents"][0] = 7
    assert sorted(path.suffix for path in cache.folder.iterdir()) == [".index", ".lock"]


def test_another_identity_is_another_file(tmp_path):
    cache, build = IndexCache(tmp_path), Builder()
    cache.get("real", IDENTITY, build)
    cache.get("real", {**IDENTITY, "seed": 2}, build)
    assert build.calls == 2 and len([*tmp_path.glob("*.index")]) == 2


def damages() -> list:
    def cut(file: Path) -> None:
        file.write_bytes(file.read_bytes()[:-1])

    def flip(place: int):
        def work(file: Path) -> None:
            content = bytearray(file.read_bytes())
            content[place] ^= 1
            file.write_bytes(content)

        return work

    def foreign(file: Path) -> None:
        IndexCache(file.parent / "other").get("real", {"seed": 9}, Builder())
        next(file.parent.glob("other/*.index")).replace(file)

    return [
        pytest.param(lambda file: file.write_bytes(b""), id="empty"),
        pytest.param(lambda file: file.write_bytes(b"hello"), id="short"),
        pytest.param(cut, id="cut"),
        pytest.param(flip(3), id="magic"),
        pytest.param(flip(60), id="description"),
        pytest.param(flip(-500), id="contents"),
        pytest.param(foreign, id="foreign"),
    ]


@pytest.mark.parametrize("damage", damages())
def test_a_damaged_or_foreign_file_is_made_again(tmp_path, damage):
    cache, build = IndexCache(tmp_path), Builder()
    cache.get("real", IDENTITY, build)
    damage(cache.path("real", IDENTITY))
    assert same(cache.get("real", IDENTITY, build)) and build.calls == 2
    assert same(cache.get("real", IDENTITY, build)) and build.calls == 2


def ask(folder: Path, made: Path, pause: float, results) -> None:
    def build() -> dict[str, np.ndarray]:
        (made / str(os.getpid())).touch()
        time.sleep(pause)
        return ARRAYS

    results.put(same(IndexCache(folder).get("real", IDENTITY, build)))


def test_of_many_processes_one_makes_it(tmp_path):
    context = multiprocessing.get_context("fork")
    results, made = context.Queue(), tmp_path / "made"
    made.mkdir()
    processes = [context.Process(target=ask, args=(tmp_path / "cache", made, 0.5, results)) for _ in range(6)]
    for process in processes:
        process.start()
    assert all(results.get(timeout=60) for _ in processes)
    for process in processes:
        process.join()
    assert len([*made.iterdir()]) == 1


class Endless(dict):
    """Arrays of which only the first is ever written."""

    def values(self):
        yield next(iter(super().values()))
        time.sleep(600)


def write_for_ever(folder: Path) -> None:
    IndexCache(folder).get("real", IDENTITY, lambda: Endless(ARRAYS))


def test_a_kill_while_writing_loses_nothing(tmp_path):
    process = multiprocessing.get_context("fork").Process(target=write_for_ever, args=(tmp_path,))
    process.start()
    while not [*tmp_path.glob("*.partial")]:
        assert process.is_alive()
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not [*tmp_path.glob("*.index")]
    build = Builder()
    assert same(IndexCache(tmp_path).get("real", IDENTITY, build)) and build.calls == 1
    assert not [*tmp_path.glob("*.partial")], "what the killed process left is removed"


def test_what_another_machine_writes_stays(tmp_path):
    """Where locks are a machine's own, two machines write the same index; each needs its file until it is complete."""
    cache = IndexCache(tmp_path)
    stem = cache.path("real", IDENTITY).stem
    theirs, left = (tmp_path / f".{stem}.{host}.123.456.partial" for host in ("elsewhere", socket.gethostname()))
    theirs.touch()
    left.touch()
    assert same(cache.get("real", IDENTITY, Builder()))
    assert [*tmp_path.glob(".*.partial")] == [theirs]


def test_prepared_ahead_it_is_not_made_again(tmp_path):
    cache, ahead, build = IndexCache(tmp_path), Builder(), Builder()
    cache.prepare("real", IDENTITY, ahead).join()
    assert same(cache.get("real", IDENTITY, build)) and (ahead.calls, build.calls) == (1, 0)
    assert cache.prepare("real", IDENTITY, ahead) is None


def test_discarded_by_name_and_still_readable(tmp_path):
    cache = IndexCache(tmp_path)
    arrays = cache.get("real[1]-00000", IDENTITY, Builder())
    cache.get("real[1]-00001", IDENTITY, Builder())
    cache.discard("real[1]-00000")
    assert [path.name.split("-")[1] for path in tmp_path.glob("*.index")] == ["00001"]
    assert same(arrays)


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(InputError, match=r"cache/real-.*cannot be written"):
        IndexCache(tmp_path / "cache").get("real", IDENTITY, Builder())
