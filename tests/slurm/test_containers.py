"""The container files, as far as they can be checked without the image that they build on."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import textwrap
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

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


def steps(name: str) -> str:
    """What a recipe runs in the image, as a script, and where it works there."""
    text = (CONTAINERS / name).read_text()
    if name == "Dockerfile":
        [command] = re.findall(r"^RUN ((?:.*\\\n)*.*)$", text, re.M)
        return f"set -eo pipefail\ncd /opt/megatron-sbp\n{command}\n"
    return textwrap.dedent(re.search(r"%post\n((?: .*\n)+)", text)[1])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Dockerfile", pytest.param("megatron-sbp.def", marks=pytest.mark.exhaustive)])
def test_the_steps_that_install_the_package_run(tmp_path, name):
    """A new environment that finds this one's packages takes the place of the image. The network is not used: what a
    dependency of setup.py would need is here, and pip builds with the setuptools that is here."""
    place, kept, image = tmp_path / "megatron-sbp", tmp_path / "kept.txt", tmp_path / "image"
    copied = re.findall(r"^COPY (\S+) ", (CONTAINERS / "Dockerfile").read_text(), re.M)
    for source in copied:
        copy = shutil.copytree if (REPOSITORY / source).is_dir() else shutil.copy
        (place / source).parent.mkdir(parents=True, exist_ok=True)
        copy(REPOSITORY / source, place / source)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", image], check=True)
    [packages] = image.glob("lib/python*/site-packages")
    (packages / "image.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    script = steps(name).replace("/opt/megatron-sbp", str(place)).replace("/tmp/kept.txt", str(kept))
    variables = {"PATH": f"{image / 'bin'}:{os.environ['PATH']}", "HOME": str(tmp_path), "PIP_NO_INDEX": "1"}
    variables["PIP_NO_BUILD_ISOLATION"] = "0"  # which is how pip spells `--no-build-isolation` here
    done = subprocess.run(["bash", "-c", script], env=variables, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not kept.exists() and "Successfully installed megatron-sbp" in done.stdout
    assert [file.name for file in packages.iterdir() if file.name.endswith(".dist-info")] == [
        f"megatron_sbp-{version('megatron-sbp')}.dist-info"
    ]
    sbp = [str(image / "bin" / "sbp"), "plan", str(place / "examples" / "sbp_3b_1t" / "recipe.yaml")]
    found = subprocess.run(sbp, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=120)
    assert found.returncode == 0 and "training tokens" in found.stdout, found.stderr
    scripts = packages / "megatron_sbp" / "executor" / "scripts"
    assert {file.name for file in scripts.iterdir()} == {
        file.name for file in (REPOSITORY / "megatron_sbp" / "executor" / "scripts").iterdir()
    }
