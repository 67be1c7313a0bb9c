"""Tables and pictures of what is committed: one of each for every search, and one for all lists of cases, ``recipe.md`` and ``recipe.png``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import yaml

from flows import plotting
from studies.tuning import tables
from studies.tuning.search import committed_search
from studies.tuning.space import changes_text

HERE = Path(__file__).parent
Lists = dict[str, dict[str, Any]]
DENSITY = {"kl": ("KL of a member", 3), "kl_sd": ("sd over members", 3), "kl_ensemble": ("KL of the ensemble", 3), "kl_kde": ("kernel density", 3)}
LARGEST = 0.6  # nat: what is beyond is written down
SAMPLES = {
    "kl": ("KL of a member", 3),
    "kl_ensemble": ("KL of the ensemble", 3),
    "modes": ("modes", 1),
    "high_quality": ("high quality", 3),
    "mode_tv": ("mode TV", 3),
    "coverage": ("coverage", 3),
    "c2st_auc": ("classifier AUC", 3),
}


def main() -> None:
    for name in _params()["searches"]:
        path = HERE / f"results/searches/{name}"
        tables.write(path, pd.read_csv(path.with_suffix(".csv")).fillna({"case": ""}), committed_search(name), f"--search {name}")
    lists = read()
    text = ["# The recipe: what was tried, and what the choice gives", ""]
    text += ["Made by `make tuning`; the cases are in `params.yaml`, the protocol is in `README.md`. KL from the truth in nats.", ""]
    for content in lists.values():
        label = plotting.LABELS[content["model"]]
        what = f"What was chosen, {label}" if content.get("only_reported") else f"Search, {label}"
        text += [f"## {what}: data {seeds_text(content)}, {content['members']} members each", ""]
        if content.get("samples"):
            text += [
                "Modes, high quality and total variation of the mode masses on 10,000 samples a member; coverage and AUC of 1,000 points.",
                "",
            ]
        text += [*table(content), ""]
    (HERE / "recipe.md").write_text("\n".join(text), encoding="utf-8")
    drawn = {name: content for name, content in lists.items() if not content.get("only_reported") and not content.get("samples")}
    picture(drawn, HERE / "recipe.png")


def read() -> Lists:
    """The lists of ``params.yaml``, each with its results under ``rows``: a row a case."""
    lists = _params()["lists"]
    return {name: {**content, "rows": pd.read_csv(HERE / f"results/lists/{name}.csv", index_col="case")} for name, content in lists.items()}


def _params() -> dict[str, Any]:
    return yaml.safe_load((HERE / "params.yaml").read_text(encoding="utf-8"))


def seeds_text(content: dict[str, Any]) -> str:
    first, last = min(content["seeds"]), max(content["seeds"])
    return f"seed {first}" if first == last else f"seeds {first} to {last}"


def table(content: dict[str, Any]) -> list[str]:
    columns = {key: value for key, value in (SAMPLES if content.get("samples") else DENSITY).items() if key in content["rows"]}
    heads = ["case", "what it changes", *(head for head, _ in columns.values()), "weights"]
    lines = ["| " + " | ".join(heads) + " |", "|---|---|" + "---:|" * (len(heads) - 2)]
    for case, changes in content["cases"].items():
        row = content["rows"].loc[case]
        cells = [f"{row[key]:.{digits}f}" for key, (_, digits) in columns.items()] + [f"{row['parameters']:,.0f}"]
        lines.append(f"| {case} | {changes_text(changes, content['model'])} | {' | '.join(cells)} |")
    return lines


def picture(lists: Lists, path: Path) -> None:
    """A line a case: one dot per data seed, a bar at the mean, a diamond for the ensembles."""
    cases = [(content["model"], name, row) for content in lists.values() for name, row in content["rows"].iterrows()]
    with plt.rc_context(plotting.STYLE):
        figure, axis = plt.subplots(figsize=(7.5, 0.24 * len(cases) + 1.2))
        places = range(len(cases) - 1, -1, -1)
        for place, (model, _, row) in zip(places, cases, strict=True):
            color = plotting.COLORS[model]
            seeds = row.filter(like="kl_seed_").to_numpy(float)
            axis.plot(seeds, [place] * len(seeds), "o", markersize=4, color=color, alpha=0.5)
            axis.plot(row["kl"], place, "|", markersize=13, markeredgewidth=2, color=color)
            axis.plot(row["kl_ensemble"], place, "D", markersize=5, markerfacecolor="white", color=color)
            if row["kl"] > LARGEST:
                axis.text(0.97 * LARGEST, place, f"{row['kl']:,.0f}, ensemble {row['kl_ensemble']:.1f} \u2192", ha="right", va="center", fontsize=8)
            axis.plot(row["kl_kde"], place, "x", markersize=5, color=plotting.COLORS["kde"])
        axis.axvline(cases[0][2]["kl"], color="#999999", linewidth=0.8, linestyle=":")
        axis.set_xscale("log")
        axis.set_xlim(0.025, LARGEST)
        axis.set_xticks([0.03, 0.05, 0.1, 0.2, 0.4], ["0.03", "0.05", "0.1", "0.2", "0.4"])
        axis.set_xticks([], minor=True)
        axis.set_yticks(list(places), [f"{plotting.LABELS[model]}: {name}" for model, name, _ in cases], fontsize=8)
        axis.set_xlabel("KL from the truth (nat)")
        axis.grid(axis="x", alpha=0.25)
        axis.set_title("dot: data seed; bar: mean; diamond: ensemble; cross: kernel density\ndotted: the settings as they are", fontsize=9)
        figure.savefig(path)
        plt.close(figure)


if __name__ == "__main__":
    main()
