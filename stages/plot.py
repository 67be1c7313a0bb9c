"""Draw all figures that are possible with the files of the other stages."""

from __future__ import annotations

from common import storage
from common.labels import label_and_color
from common.splits import holdout
from flows import plotting
from flows.core.progress import progress
from flows.tables.columns.drawing import drawn
from flows.tables.columns.files import read_numbers
from stages.pipeline import files, runner, schema


def main() -> None:
    params = schema.load()
    truth, entropy, fields, _ = files.read_target()
    names, data = read_numbers(files.RAW)
    columns = drawn(fields) if fields else [plotting.Column(name) for name in names]
    # The truth of a table is unknown; beside a truth, the simplest references would only stretch
    # the axes.
    left_out = {"truth"} if truth is None else {"independent", "gaussian"}
    references = [name for name in schema.References.model_fields if name not in left_out]
    shown = (*references, *params.models)
    rows = [read_row(name, is_model=name in params.models) for name in shown]
    if truth is None:
        add_gains(rows)
    histories = {name: storage.read_table(files.history(name)) for name in params.models}
    _, test = holdout(data, len(storage.read_npy(files.TEST)), params.prepare.seed)
    fresh = params.evaluate.fresh
    scene = plotting.Scene(
        rows=rows,
        histories=histories,
        columns=columns,
        data=data,
        truth=truth,
        entropy=entropy,
        fresh=fresh,
        test=test,
    )
    missing = plotting.missing(scene)
    figures = [name for name in plotting.FIGURES if name not in missing]
    with progress("plot", len(figures), "figure") as bar:
        for name in figures:
            with storage.writing(files.FIGURES / name):
                plotting.draw_figure(name, scene, files.FIGURES / name)
            bar.update()
    lacking: dict[str, list[str]] = {}
    for name, needs in missing.items():
        (files.FIGURES / name).unlink(missing_ok=True)  # it may show other data
        lacking.setdefault(" and no ".join(needs), []).append(name)
    reasons = "".join(f"; no {needs}: no {', '.join(own)}" for needs, own in lacking.items())
    print(f"{len(figures)} figures in {files.FIGURES}/{reasons}")


def read_row(name: str, *, is_model: bool) -> plotting.Row:
    """Return the data of one model or reference for the figures."""
    label, color = label_and_color(name)
    headline = storage.read_json(files.headline(name))
    members = storage.read_table(files.members(name))
    arrays = storage.read_npz(files.plot_data(name))
    return plotting.Row(name, label, color, headline, members, arrays, is_model=is_model)


def add_gains(rows: list[plotting.Row]) -> None:
    """Add to each row the gains of members and ensemble over the best reference, in nats."""
    ranking = storage.read_json(files.RANKING)
    if not ranking:
        return
    best = next(iter(ranking.values()))["gain_over"]
    reference = storage.read_npz(files.plot_data(best))["test_log_density"].mean()
    for row in rows:
        if "test_log_density" in row.arrays:
            row.members["gain"] = row.arrays["test_log_density"].mean(axis=0) - reference
            row.headline["gain_ensemble"] = ranking.get(row.name, {}).get("gain")


if __name__ == "__main__":
    runner.run(main)
