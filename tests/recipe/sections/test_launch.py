"""Settings of processes and of Slurm jobs."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from megatron_sbp.recipe.sections import Slurm, SlurmJobs


def test_limits_as_sbatch_reads_them():
    jobs = SlurmJobs.model_validate({"time": 90, "memory": 64000})
    assert (jobs.time, jobs.memory) == ("90", "64000")
    assert Slurm.model_validate({"time": "1-00:00:00", "memory": "site"}).memory == "site"
    for key, value in (("time", "tomorrow"), ("memory", "64 GiB"), ("memory", True)):
        with pytest.raises(ValidationError, match=key):
            SlurmJobs.model_validate({key: value})


def test_jobs_of_a_stage_override_only_what_they_name():
    slurm = Slurm.model_validate({"partition": "gpu", "stages": {"tune": {"nodes": 2}}})
    assert slurm.stages["tune"].model_dump(exclude_defaults=True) == {"nodes": 2}
    with pytest.raises(ValidationError, match="nods"):
        Slurm.model_validate({"stages": {"tune": {"nods": 2}}})
