"""What runs inside an environment of the peers; loads one engine, the others live elsewhere.

``run_engine.py trade ENGINE CASE.npz ANSWER.npz …`` runs one case after the other, and prints the
name of each answer that is written. ``run_engine.py export GOOG.npz`` writes the history that
backtesting.py ships.
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
        return
    engine, *files = arguments
    module = importlib.import_module(f"engines.with_{engine}")
    for case, answer in zip(files[::2], files[1::2], strict=True):
        module.run(Case.load(Path(case))).save(Path(answer))
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
