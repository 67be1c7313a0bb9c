"""Speed and quality of ``flows`` beside other flow libraries, on one machine in one run."""

from pathlib import Path

FOLDER = Path(__file__).parent
PARAMS = FOLDER / "params.yaml"  # a section a benchmark
RESULTS = FOLDER / "results.json"  # what ``run`` writes and ``draw`` reads
