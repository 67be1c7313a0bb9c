"""Draw the data set from the truth that ``data:`` describes, and write both down."""

from __future__ import annotations

from flows.seeds import numpy_generator
from stages import files, settings

ENTROPY_DRAWS = 1_000_000  # standard error about 0.001 nat


def main() -> None:
    data = settings.load().data
    target = data.make_target()
    rows = target.sample(data.samples, numpy_generator(data.seed, "generate"))
    entropy, standard_error = target.entropy(ENTROPY_DRAWS, numpy_generator(data.seed, "entropy"))
    files.write_csv(files.RAW, {"x": rows[:, 0], "y": rows[:, 1]}, float_format="%.12g")
    files.write_json(
        files.TARGET,
        {
            "weights": target.weights.tolist(),
            "means": target.means.tolist(),
            "covariances": target.covariances.tolist(),
            "entropy": round(entropy, 6),
            "entropy_se": round(standard_error, 6),
        },
    )
    print(f"{len(rows)} points from {data.target}: {len(target.weights)} components, entropy {entropy:.4f} +- {standard_error:.4f} nat")


if __name__ == "__main__":
    settings.run(main)
