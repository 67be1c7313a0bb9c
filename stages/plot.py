"""Draw every figure that the files of the other stages allow."""

from __future__ import annotations

from flows import plotting
from stages.shared import files, settings


def main() -> None:
    params = settings.load()
    truth, entropy = files.read_truth()
    columns, data = files.read_raw()
    references = [name for name in settings.References.model_fields if name != "truth" or truth is not None]
    rows = []
    for name in (*references, *params.models):
        label, color = settings.label_and_color(name)
        headline, members, arrays = files.read_headline(name), files.read_table(files.members(name)), files.read_npz(files.plot_data(name))
        rows.append(plotting.Row(name, label, color, headline, members, arrays, is_model=name in params.models))
    histories = {name: files.read_table(files.history(name)) for name in params.models}
    scene = plotting.Scene(rows, histories, columns, data, truth, entropy, len(files.read_npy(files.TRAIN)), params.evaluate.fresh)
    figures, missing = plotting.possible(scene), plotting.missing(scene)
    for name in figures:
        with files.writing(files.FIGURES / name):
            plotting.draw(name, scene, files.FIGURES / name)
    for name in missing:  # of other data, perhaps
        (files.FIGURES / name).unlink(missing_ok=True)
    left_out = "".join(f"; {name} left out: no {' and no '.join(needs)}" for name, needs in missing.items())
    print(f"{len(figures)} figures in {files.FIGURES}/{left_out}")


if __name__ == "__main__":
    settings.run(main)
