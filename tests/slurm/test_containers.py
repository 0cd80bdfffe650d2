"""The container files, as far as they can be checked without the image that they build on."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
CONTAINERS = REPOSITORY / "slurm" / "containers"


def test_what_is_kept_is_what_is_installed():
    words = [sys.executable, CONTAINERS / "keep_torch.py"]
    kept = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    assert f"torch=={version('torch')}" in kept and f"numpy=={version('numpy')}" in kept
    assert all(re.fullmatch(r"[a-z-]+==\S+", line) for line in kept)


def test_both_recipes_take_the_same_image_and_the_same_files():
    docker, apptainer = (CONTAINERS / name for name in ("Dockerfile", "megatron-sbp.def"))
    docker, apptainer = docker.read_text(), apptainer.read_text()
    assert re.search(r"^ARG BASE=(\S+)$", docker, re.M)[1] == re.search(r"^From: (\S+)$", apptainer, re.M)[1]
    copied = {words.split()[0] for words in re.findall(r"^COPY (.+)$", docker, re.M)}
    files = re.search(r"%files\n((?: .*\n)+)", apptainer)[1]
    assert copied == {line.split()[0] for line in files.splitlines()}
    assert all((REPOSITORY / name).exists() for name in copied)
    ignored = (CONTAINERS / "Dockerfile.dockerignore").read_text().splitlines()
    assert {line.removeprefix("!") for line in ignored if line.startswith("!")} == copied


def test_the_environment_file_mounts_what_it_works_in():
    found = tomllib.loads((CONTAINERS / "megatron-sbp.toml").read_text())
    assert f"{found['workdir']}:{found['workdir']}" in found["mounts"] and found["image"].endswith(".sqsh")
    assert found["annotations"]["com"]["hooks"]["aws_ofi_nccl"]["enabled"] == "true"
