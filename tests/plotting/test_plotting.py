"""Figures of all kinds of scenes: with and without a truth, of one member, of wide tables.

Nothing is trained here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from helpers import counted_bars, further
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from scipy.stats import norm

import flows
from common import storage
from flows import plotting
from flows.bijections import ActNorm
from flows.core.errors import UserError
from flows.mixtures.mixture import Mixture
from flows.plotting.scene import NEEDS, Column
from flows.truths import make
from stages import plot

pytestmark = pytest.mark.filterwarnings("error")
LEVELS = np.arange(1, 50) / 50
SCORES = ("kl", "precision", "recall", "density", "coverage", "c2st_auc", "mode_tv", "high_quality")


def scene(
    needs: Sequence[str] = tuple(NEEDS),
    *,
    members: int = 3,
    truth: Mixture | None = None,
    dim: int = 2,
) -> plotting.Scene:
    """Return a scene with the ``needs`` and nothing else that is optional.

    Its rows are the truth (if needed), two references, a flow, a VAE and a GAN.
    """
    rng = np.random.default_rng(0)
    truth = truth or make("ring")
    known, dim = "truth" in needs or "components" in needs, dim if "plane" in needs else 5

    def row(name: str, count: int, density: bool = True, flow: bool = False) -> plotting.Row:
        density &= "density" in needs
        table = pd.DataFrame(rng.uniform(0.8, 1, (count, len(SCORES))), columns=list(SCORES))
        arrays: dict[str, Any] = {"samples": rng.standard_normal((50, dim)), "levels": LEVELS}
        headline: dict[str, float | None] = {}
        if density:
            arrays["test_log_density"] = rng.standard_normal((20, count))
        if known:
            arrays["mode_mass"] = rng.dirichlet(np.ones(len(truth.weights) + 1), count)
        else:
            table = table.drop(columns=["kl", "mode_tv", "high_quality"])
        if known and density:
            arrays["hdr"] = rng.uniform(size=(count, len(LEVELS)))
            headline = {"kl": table["kl"].mean(), "kl_ensemble": 0.8 if count > 1 else None}
        elif known:
            table["kl"] = np.nan
        if density and dim == 2:
            names = ("density", "density_ensemble")
            arrays |= {each: rng.uniform(size=(9, 9)) for each in names}
            arrays["box"] = np.array([[-1.0, -2.0], [1.0, 2.0]])
        if flow and "trajectory" in needs:
            arrays["trajectory"] = rng.standard_normal((5, 50, dim))
            arrays |= {"radius": arrays["hdr"]} if "hdr" in arrays else {}
        if flow and "paths" in needs:
            arrays["paths"] = rng.standard_normal((4, 50, dim))
        model = name in ("flow", "vae", "gan")
        words = (name, name.upper(), "#0072B2")
        return plotting.Row(*words, headline, table, arrays, is_model=model)

    rows = [row("truth", 8)] if known else []
    rows += [row("gmm", 1), row("kde", 1), row("flow", members, flow=True), row("vae", members)]
    rows += [row("gan", members, density=False)]
    epochs = pd.DataFrame({"epoch": np.arange(10, 210, 10)})
    losses = {"generator_loss": 0.7, "discriminator_loss": 1.3}
    losses |= {"generator_loss_sd": 0.1, "discriminator_loss_sd": 0.1}
    fall = epochs["epoch"] / 200
    nll = epochs.assign(train_nll=4 - fall, train_nll_sd=0.1, test_nll=4.2 - fall, test_nll_sd=0.1)
    return plotting.Scene(
        rows=rows,
        histories={"flow": nll, "vae": nll, "gan": epochs.assign(**losses)},
        columns=[Column(f"x{k}") for k in range(dim)],
        data=rng.standard_normal((80, dim)),
        truth=truth if "components" in needs else SampleOnly() if known else None,
        entropy=3.5 if known else None,
        fresh=500,
        test=rng.standard_normal((20, dim)),
    )


class SampleOnly:
    """A truth that is not a mixture."""


SCENES = {
    "all": scene(),
    "one member": scene(members=1),
    "no truth": scene(("plane", "density", "trajectory", "paths")),
    "no mixture": scene(("truth", "plane", "density", "trajectory", "paths")),
    "no density": scene(("truth", "components", "plane")),
    "wide": scene(
        ("truth", "components", "density", "trajectory", "paths"),
        truth=Mixture(np.ones(2) / 2, np.zeros((2, 5)), np.stack([np.eye(5)] * 2)),
    ),
    "wide, no truth": scene(("density",)),
}
OF_TABLES = {"margins.png": ["table"], "probability.png": ["table"], "pairs.png": ["third column"]}


def possible(scene: plotting.Scene) -> list[str]:
    return [name for name in plotting.FIGURES if name not in plotting.missing(scene)]


def test_drawing_and_saving_keep_the_backend_and_the_figures_of_the_user(tmp_path):
    before = plt.get_backend()
    plt.switch_backend("svg")
    mine = plt.figure()
    try:
        plotting.draw_figure("margins.png", SCENES["wide"], tmp_path / "margins.png")
        assert plt.get_backend() == "svg"
        assert plt.get_fignums() == [mine.number]
    finally:
        plt.close(mine)
        plt.switch_backend(before)


@pytest.mark.slow
def test_a_notebook_displays_the_bytes_of_the_saved_figure(tmp_path):
    plotting.draw_figure("margins.png", SCENES["wide"], tmp_path / "margins.png")
    figure: Any = plotting.draw("margins.png", SCENES["wide"])
    with plt.rc_context({"savefig.dpi": 30}):
        assert figure._repr_png_() == (tmp_path / "margins.png").read_bytes()


@pytest.mark.parametrize(
    "name",
    [
        name if name in OF_TABLES else further(name)
        for name in plotting.FIGURES  # the small pipeline writes those of the plane
    ],
)
def test_a_written_figure_gives_no_warning_and_is_not_blank(name: str, tmp_path: Path):
    plotting.draw_figure(name, SCENES["all"], tmp_path / name)
    with Image.open(tmp_path / name) as picture:
        assert name.endswith(".gif") or picture.width == round(120 * 9.2)
        assert np.asarray(picture.convert("L"), dtype=np.float64).std() > 5


@pytest.mark.slow
@pytest.mark.parametrize("which", ["one member", "wide"])
def test_all_possible_figures_are_drawn_without_warnings(which: str):
    for name in possible(SCENES[which]):
        assert plotting.draw(name, SCENES[which])


@pytest.mark.slow
@pytest.mark.parametrize("name", plotting.FIGURES)
def test_the_declared_needs_of_a_figure_are_sufficient(name: str):
    needs, _ = plotting.FIGURES[name]
    assert name in possible(scene(needs))
    assert plotting.draw(name, scene(needs))


UNKNOWN = {"calibration.png": ["truth"], "modes.png": ["truth", "components"]}
LAYERS = {"layers.gif": ["plane"], "layers.png": ["plane"], "paths.gif": ["plane"]}
FLAT = {name: ["plane", "trajectory"] for name in LAYERS} | {"paths.gif": ["plane", "paths"]}
PLANE = {name: ["plane"] for name in ("conditional.png", "density.png", "samples.png")}


@pytest.mark.parametrize(
    ("which", "left_out"),
    [
        ("all", OF_TABLES),
        ("no truth", {**UNKNOWN, "pairs.png": ["third column"]}),
        ("no mixture", {**OF_TABLES, "modes.png": ["components"]}),
        ("wide", {**PLANE, **LAYERS}),
        ("wide, no truth", {**UNKNOWN, **PLANE, **FLAT}),
    ],
)
def test_figures_with_missing_needs_are_left_out(which: str, left_out: dict[str, list[str]]):
    assert plotting.missing(SCENES[which]) == left_out
    assert set(possible(SCENES[which])) == set(plotting.FIGURES) - set(left_out)


def text_of(figure: Figure) -> str:
    """Return all visible text of a figure."""
    return "\n".join(each.get_text() for each in figure.findobj(Text) if each.get_visible())


def words(name: str, scene: plotting.Scene) -> str:
    return text_of(plotting.draw(name, scene))


def test_without_a_truth_no_figure_mentions_it():
    pictures = {"density.png", "layers.png", "margins.png", "probability.png", "quality.png"}
    pictures |= {"conditional.png", "samples.png", "summary.png", "training.png"}
    assert set(possible(SCENES["no truth"])) == {*pictures, "layers.gif", "paths.gif"}
    for name in pictures - {"layers.png"}:
        said = re.findall(r"\w+", words(name, SCENES["no truth"]))
        assert not {"truth", "entropy", "KL"} & set(said), (name, said)


def test_a_model_without_a_density_is_named():
    assert "GAN: no density" in words("density.png", scene())


def test_conditionals_have_area_1_and_the_true_one_equals_its_closed_form():
    weights, means = np.array([0.7, 0.3]), np.array([[0.0, 1.0], [1.0, -2.0]])
    covariances = np.array([[[1.0, 0.6], [0.6, 0.8]], [[0.5, -0.2], [-0.2, 1.0]]])
    truth = Mixture(weights, means, covariances)
    box = np.array(truth.box(6))
    points = np.stack(np.meshgrid(*np.linspace(*box, 200).T), axis=-1)
    joint = np.exp(truth.log_prob(points.reshape(-1, 2))).reshape(200, 200)
    whole = scene(truth=truth)
    grids = {"box": box, "density_ensemble": joint}
    able = [row for row in whole.rows if "box" in row.arrays]
    rows = [replace(row, arrays={**row.arrays, **grids}) for row in able]
    data = truth.sample(1000, np.random.default_rng(0))
    first, *panels = plotting.draw("conditional.png", replace(whole, data=data, rows=rows)).axes
    assert len(first.lines) == len(panels) == 3
    for mark, axis in zip(first.lines, panels, strict=True):
        assert [line.get_label() for line in axis.lines] == ["TRUTH", "GMM", "KDE", "FLOW", "VAE"]
        (c, _), (share, y) = mark.get_xdata(), axis.lines[0].get_data()
        slope = covariances[:, 0, 1] / covariances[:, 0, 0]
        mean = means[:, 1] + slope * (c - means[:, 0])
        variance = covariances[:, 1, 1] - slope * covariances[:, 0, 1]
        posterior = weights * norm.pdf(c, means[:, 0], covariances[:, 0, 0] ** 0.5)
        exact = norm.pdf(y[:, None], mean, variance**0.5) @ (posterior / posterior.sum())
        np.testing.assert_allclose(share, exact, atol=1e-9)
        for line in axis.lines:
            assert np.trapezoid(*line.get_data()) == pytest.approx(1)


def test_the_error_of_the_truth_is_for_as_many_draws_as_members():
    whole = scene(members=3)
    for row in (row for row in whole.rows if row.name in ("truth", "vae")):
        mean, error = whole.mean(row, ["recall"])
        assert mean == pytest.approx(row.members["recall"].mean())
        assert error == pytest.approx(2 * row.members["recall"].std() / np.sqrt(3))


def test_a_diverged_model_is_left_out_without_warnings():
    def lost(row: plotting.Row) -> plotting.Row:
        nan = {key: row.arrays[key] * np.nan for key in ("hdr", "radius", "mode_mass")}
        return replace(row, members=row.members * np.nan, arrays={**row.arrays, **nan})

    whole = scene()
    rows = [lost(row) if row.name == "flow" else row for row in whole.rows]
    histories = {name: table * [1, *[np.nan] * 4] for name, table in whole.histories.items()}
    broken = replace(whole, rows=rows, histories=histories)
    for name in ("training.png", "summary.png", "modes.png", "quality.png", "calibration.png"):
        assert plotting.draw(name, broken)


def test_the_stage_draws_possible_figures_and_names_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    wide, files = SCENES["wide"], plot.files
    (tmp_path / "params.yaml").write_bytes(Path("params.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)
    storage.write_csv(files.RAW, dict(zip(wide.names, wide.data.T, strict=True)), "%.6g")
    files.write_target(Mixture(np.ones(1), np.zeros((1, 5)), np.eye(5)[None]), (7.0, 0.001))
    storage.write_npy(files.TRAIN, wide.data)
    kinds = {row.name: row.name for row in wide.rows}
    storage.write_npy(files.TEST, wide.test)
    for name in (*plot.schema.References.model_fields, *plot.schema.load().models):
        like = kinds.get(name, "flow")
        row = next(row for row in wide.rows if row.name == like)
        storage.write_json(files.headline(name), row.headline)
        storage.write_csv(files.members(name), row.members, "%.6g")
        of_one = {"mode_mass": row.arrays["mode_mass"][:, :2]}
        storage.write_npz(files.plot_data(name), {**row.arrays, **of_one})
        if row.is_model:
            storage.write_csv(files.history(name), wide.histories[like], "%.6g")
    monkeypatch.setattr(
        plotting, "draw_figure", lambda name, scene, path: storage.write_bytes(path, b"")
    )
    bars = counted_bars(monkeypatch, plot)
    plot.main()
    (bar,) = bars
    assert (bar.about, bar.total, sum(bar.steps)) == (("plot", "figure"), 8, 8)
    line = capsys.readouterr().out
    assert line.startswith("8 figures in figures/; ")
    assert "no plane: no samples.png, density.png, conditional.png, layers.png, layers.gif" in line
    assert line.count("\n") == 1
    drawn = {"calibration.png", "modes.png", "quality.png", "summary.png", "training.png"}
    assert {path.name for path in files.FIGURES.iterdir()} == {*drawn, *OF_TABLES}


# Tables


def of_a_table(**columns: np.ndarray) -> plotting.Scene:
    """Return a scene of a table whose models draw its own rows in another order."""
    data = np.stack(list(columns.values()), axis=1)
    whole = scene(("density",))
    rows = [
        replace(row, arrays={**row.arrays, "samples": np.random.default_rng(1).permutation(data)})
        for row in whole.rows
    ]
    kinds = [Column(name) for name in columns]
    return replace(whole, columns=kinds, data=data, test=data[::5], rows=rows)


def normal(seed: int, count: int = 200) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(count)


@pytest.mark.slow
def test_columns_of_any_kind_are_drawn_without_warnings():
    columns = {
        "far away": 1e9 + normal(1),
        "sparse": np.where(normal(2) > 1.5, normal(3), 0),
        "a count": np.random.default_rng(3).poisson(2, 200).astype(float),
        "income": np.exp(5 * normal(4)),
        "a column with a name that is far too long": normal(5),
        "twice": normal(5) * 1e-9,
        "constant": np.full(200, 3.0),
    }
    said = {name: words(name, of_a_table(**columns)) for name in OF_TABLES}
    assert "log\u2081\u2080 income" in said["margins.png"]


@pytest.mark.slow
def test_columns_without_a_panel_are_named():
    table = of_a_table(**{f"c{k}": normal(k // 2, 60) for k in range(14)})
    assert "not shown: c12, c13" in words("margins.png", table)
    assert "not shown: c12, c13" in words("probability.png", table)
    assert re.search("not shown: .* and 4 more", words("pairs.png", table))  # of eight


def test_infinite_and_extreme_samples_are_drawn_without_warnings():
    table = of_a_table(a=np.exp(4 * normal(1)), b=normal(2), c=normal(3))
    wild = np.concatenate([table.data, [[-1.0, 1e300, np.inf], [0.0, np.nan, -1e300]]])
    broken = replace(
        table, rows=[replace(row, arrays={**row.arrays, "samples": wild}) for row in table.rows]
    )
    for name in OF_TABLES:
        assert plotting.draw(name, broken)


def test_a_model_that_draws_the_data_has_a_perfect_probability_plot():
    table = of_a_table(a=normal(1), b=np.round(normal(2)), c=normal(3).round(1))
    exact = replace(table, test=table.data)
    for axis in plotting.draw("probability.png", exact).axes[:3]:
        for line in axis.lines:
            np.testing.assert_allclose(line.get_ydata(), 0, atol=1e-12)


def test_the_gain_of_a_table_is_shown_and_poor_references_do_not_hide_the_others():
    table = of_a_table(a=normal(1), b=normal(2), c=normal(3))
    gains = {"gmm": 0.0, "kde": -500.0, "flow": 0.5, "vae": -0.5}
    rows = [
        replace(row, members=row.members.assign(gain=gains.get(row.name, np.nan)))
        for row in table.rows
    ]
    drawn = replace(table, rows=rows)
    summary = plotting.draw("summary.png", drawn)
    assert "gain on the best reference" in text_of(summary)
    assert summary.axes[0].get_xscale() == "symlog"
    assert "gain" not in words("summary.png", table)


def test_held_out_curves_are_drawn_and_explained():
    whole = scene()
    history = whole.histories["flow"].assign(held_out_nll=4.5, held_out_nll_sd=0.1)
    found = replace(whole, histories={**whole.histories, "flow": history})
    assert "held out: rows that a member does not learn from" in words("training.png", found)
    assert "held out" not in words("training.png", whole)


def test_a_density_that_was_assembled_by_hand_is_not_drawn():
    flow = flows.Flow(flows.StandardNormal(3, (2,)), [ActNorm(2, 3)])
    with pytest.raises(UserError, match="the density is a reference; only models can be drawn"):
        flows.Density(flow).plot(np.zeros((5, 2)))


def test_a_spike_above_the_scale_is_named_in_the_title():
    whole = scene()
    spiky = whole.histories["flow"].copy()
    spiky.loc[12, "train_nll"] = 1111.6
    spiky = replace(whole, histories={**whole.histories, "flow": spiky})
    assert "up to 1,112 (train, epoch 130)" in words("training.png", spiky)
