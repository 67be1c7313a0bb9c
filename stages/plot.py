"""Draw every figure that the files of the other stages allow."""

from __future__ import annotations

from flows import plotting
from stages import files, settings

COLORS = {"truth": "#000000", "gmm": "#E69F00", "kde": "#CC79A7", "realnvp": "#0072B2", "glow": "#D55E00", "vae": "#009E73", "gan": "#56B4E9"}
LABELS = {"truth": "truth", "gmm": "mixture (GMM)", "kde": "kernel density", "realnvp": "RealNVP", "glow": "Glow", "vae": "VAE", "gan": "GAN"}


def main() -> None:
    params = settings.load()
    truth, entropy = files.read_target()
    columns, data = files.read_raw()
    rows = [
        plotting.Row(
            name=name,
            label=LABELS.get(name, name),
            color=COLORS.get(name) or plotting.SPARE_COLORS[sum(name.encode()) % len(plotting.SPARE_COLORS)],
            headline=files.read_headline(name),
            members=files.read_table(files.members(name)),
            arrays=files.read_npz(files.plot_data(name)),
            is_model=name in params.models,
        )
        for name in (*settings.References.model_fields, *params.models)
    ]
    histories = {name: files.read_table(files.history(name)) for name in params.models}
    scene = plotting.Scene(rows, histories, columns, data, truth, entropy, len(files.read_npy(files.TRAIN)), params.evaluate.fresh)
    figures = plotting.possible(scene)
    for name in figures:
        with files.writing(files.FIGURES / name):
            plotting.draw(name, scene, files.FIGURES / name)
    left_out = "".join(f"; {name} left out: no {' and no '.join(needs)}" for name, needs in plotting.missing(scene).items())
    print(f"{len(figures)} figures in {files.FIGURES}/{left_out}")


if __name__ == "__main__":
    settings.run(main)
