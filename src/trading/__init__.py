"""Fully automatic trading of Korean and US shares through the KIS OpenAPI."""

import os

__version__ = "0.1.0"

# Here, because whatever starts the program (command line, flow, exchange) comes by before numpy is
# loaded, which reads them only then. More threads than free cores make an eigendecomposition of
# 200 names ten times slower, and its last bits depend on their number (law 3).
for _library in ("OPENBLAS", "MKL", "OMP"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")
