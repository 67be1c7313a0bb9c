"""Speed and quality of ``flows`` and other flow libraries, on one machine in one run."""

from pathlib import Path

FOLDER = Path(__file__).parent
PARAMS = FOLDER / "params.yaml"  # one section per benchmark
RESULTS = FOLDER / "results.json"  # written by ``run``, read by ``draw``
