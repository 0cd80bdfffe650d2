"""Versions against the ranges of setup.py and the tags of the installed wheels."""

from __future__ import annotations

import platform

import pytest
from packaging.requirements import Requirement

from megatron_sbp.doctor.subject import Subject
from megatron_sbp.doctor.system import (
    check_megatron,
    check_system,
    glibc_is_new_enough,
    in_range,
    newest_glibc_of_wheels,
    python_in_range,
)


def test_what_the_tests_run_on_is_supported():
    found = [*check_system(Subject()), *check_megatron(Subject())]
    assert {finding.check for finding in found} == {"python", "glibc", "architecture", "megatron-core"}
    assert not [finding for finding in found if finding.status == "fail"]


@pytest.mark.parametrize("version, status", [("3.11.9", "fail"), ("3.12.0", "ok"), ("3.13.0rc1", "ok")])
def test_python(version, status):
    assert python_in_range(version, ">=3.12").status == status


@pytest.mark.parametrize(
    "wanted, status", [("megatron-core>=99", "fail"), ("megatron-core<0.1", "fail"), ("megatron-core>=0.19", "ok")]
)
def test_a_package_out_of_its_range(wanted, status):
    finding = in_range(Requirement(wanted))
    assert finding.status == status
    if status == "fail":
        assert wanted.replace("megatron-core", "") in finding.text and "pip install" in finding.remedy


def test_a_package_that_is_not_there():
    assert in_range(Requirement("no-such-package-anywhere>=1")).text == "is not installed"


def test_a_node_with_an_older_c_library_than_the_wheels_want():
    needed, package = newest_glibc_of_wheels()
    assert needed is not None and needed >= (2, 17)  # torch alone asks for that
    assert glibc_is_new_enough(platform.libc_ver()[1], needed, package).status == "ok"
    old = glibc_is_new_enough("2.12", needed, package)
    assert old.status == "fail" and package in old.text and "container" in old.remedy
    assert glibc_is_new_enough("", needed, package).status == "warn"
