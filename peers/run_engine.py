"""What runs inside an environment of the peers; loads one engine, the others live elsewhere.

``run_engine.py trade ENGINE CASE.npz ANSWER.npz`` runs one case, ``run_engine.py export GOOG.npz``
writes the history that backtesting.py ships.
"""

import importlib
import sys
from pathlib import Path

from engines import workloads
from engines.case import Case


def main(command: str, *arguments: str) -> None:
    """Run one of the two commands."""
    if command == "export":
        workloads.export(Path(arguments[0]))
    else:
        engine, case, answer = arguments
        module = importlib.import_module(f"engines.with_{engine}")
        module.run(Case.load(Path(case))).save(Path(answer))


if __name__ == "__main__":
    main(*sys.argv[1:])
