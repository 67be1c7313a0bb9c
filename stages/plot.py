"""Draw every figure that the files of the other stages allow."""

from __future__ import annotations

from flows import plotting
from flows.data import table
from flows.data.splits import holdout
from stages.pipeline import files, settings


def main() -> None:
    params = settings.load()
    truth, entropy, _ = files.read_target()
    columns, data, *_ = table.read(files.RAW)
    # Beside a truth the floors of a table would only stretch the axes.
    apart = ["truth"] if truth is None else ["independent", "gaussian"]
    references = [name for name in settings.References.model_fields if name not in apart]
    rows = []
    ranking = files.read_json(files.RANKING) if truth is None else {}
    floor = next(
        (
            files.read_npz(files.plot_data(each["gain_over"]))["test_log_density"].mean()
            for each in ranking.values()
        ),
        None,
    )
    for name in (*references, *params.models):
        headline, members = (
            files.read_json(files.headline(name)),
            files.read_table(files.members(name)),
        )
        arrays, (label, color) = (
            files.read_npz(files.plot_data(name)),
            settings.label_and_color(name),
        )
        if floor is not None and "test_log_density" in arrays:
            members["gain"], headline["gain_ensemble"] = (
                arrays["test_log_density"].mean(axis=0) - floor,
                ranking.get(name, {}).get("gain"),
            )
        rows.append(
            plotting.Row(
                name, label, color, headline, members, arrays, is_model=name in params.models
            )
        )
    histories = {name: files.read_table(files.history(name)) for name in params.models}
    _, test = holdout(data, len(files.read_npy(files.TEST)), params.prepare.seed)
    scene = plotting.Scene(
        rows, histories, columns, data, truth, entropy, params.evaluate.fresh, test
    )
    missing = plotting.missing(scene)
    figures = [name for name in plotting.FIGURES if name not in missing]
    for name in figures:
        with files.writing(files.FIGURES / name):
            plotting.draw(name, scene, files.FIGURES / name)
    for name in missing:  # of other data, perhaps
        (files.FIGURES / name).unlink(missing_ok=True)
    left_out: dict[str, list[str]] = {}
    for name, needs in missing.items():
        left_out.setdefault(" and no ".join(needs), []).append(name)
    print(
        f"{len(figures)} figures in {files.FIGURES}/"
        + "".join(f"; no {needs}: no {', '.join(names)}" for needs, names in left_out.items())
    )


if __name__ == "__main__":
    settings.run(main)
