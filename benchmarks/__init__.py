"""Speed and quality of ``flows`` beside other flow libraries, on one machine in one run."""

from pathlib import Path

RESULTS = Path(__file__).with_name("results.json")  # what ``run`` writes and ``draw`` reads
