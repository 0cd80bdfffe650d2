"""Runs stages: the runner with manifests and resume, local processes, Slurm."""
