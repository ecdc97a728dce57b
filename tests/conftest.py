"""What every test runs under: one torch thread a worker, and repeatable examples."""

import os

# Before torch is imported: two workers with two threads each slow one another 10 to 100 times.
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"

import hypothesis
import torch

torch.set_num_threads(1)

hypothesis.settings.register_profile(
    "quick", max_examples=25, deadline=None, derandomize=True, database=None
)
hypothesis.settings.register_profile(
    "full", max_examples=300, deadline=None, derandomize=False, print_blob=True
)
hypothesis.settings.load_profile("quick")
