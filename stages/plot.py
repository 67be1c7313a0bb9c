"""Draw every figure from the files of the other stages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from flows import plotting
from stages import files, settings


def main() -> None:
    params = settings.load()
    target, entropy = files.read_target()
    _, data = files.read_raw()
    names = [*settings.References.model_fields, *params.models]
    rows = [
        plotting.Row(
            name=name,
            headline=files.read_headline(name),
            members=files.read_table(files.members(name)),
            arrays=files.read_npz(files.plot_data(name)),
            is_model=name in params.models,
        )
        for name in names
    ]
    histories = {name: files.read_table(files.history(name)) for name in params.models}
    (left, bottom), (right, top) = target.box()
    flow = next(row for row in rows if "path" in row.arrays)
    training_rows = len(files.read_npy(files.TRAIN))
    figures: dict[str, Callable[[Path], None]] = {
        "training.png": lambda path: plotting.training_curves(histories, rows, entropy, path),
        "samples.png": lambda path: plotting.sample_panels(data, rows, path),
        "density.png": lambda path: plotting.density_panels(rows, (left, right, bottom, top), path),
        "layers.png": lambda path: plotting.layer_strip(flow, path),
        "layers.gif": lambda path: plotting.layer_animation(flow, path),
        "summary.png": lambda path: plotting.summary(rows, path),
        "modes.png": lambda path: plotting.mode_bars(rows, target.weights, training_rows, path),
        "quality.png": lambda path: plotting.quality_against_diversity(rows, path),
        "calibration.png": lambda path: plotting.calibration_curves(rows, params.evaluate.fresh, path),
    }
    for name, draw in figures.items():
        with files.writing(files.FIGURES / name):
            draw(files.FIGURES / name)
    print(f"{len(figures)} figures in {files.FIGURES}/")


if __name__ == "__main__":
    settings.run(main)
