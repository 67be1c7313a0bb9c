"""Draw every figure from the files of the other stages."""

from __future__ import annotations

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
    plotting.training_curves(histories, rows, entropy, files.FIGURES / "training.png")
    plotting.sample_panels(data, rows, files.FIGURES / "samples.png")
    plotting.density_panels(rows, (left, right, bottom, top), files.FIGURES / "density.png")
    plotting.layer_strip(flow, files.FIGURES / "layers.png")
    plotting.layer_animation(flow, files.FIGURES / "layers.gif")
    plotting.summary(rows, files.FIGURES / "summary.png")
    plotting.mode_bars(rows, target.weights, len(files.read_npy(files.TRAIN)), files.FIGURES / "modes.png")
    plotting.quality_against_diversity(rows, files.FIGURES / "quality.png")
    plotting.calibration_curves(rows, params.evaluate.fresh, files.FIGURES / "calibration.png")
    print(f"9 figures in {files.FIGURES}/")


if __name__ == "__main__":
    settings.run(main)
