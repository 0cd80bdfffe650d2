"""Who runs stages: the runner with manifests and resume, this machine, Slurm."""
