"""A SLURM of the tests' own, on one machine, and what is tested with it."""
