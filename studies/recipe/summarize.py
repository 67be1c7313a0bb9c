"""Gather the scores of all cases in one table, ``recipe.md``, and one picture, ``recipe.png``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import yaml

from flows import plotting

HERE = Path(__file__).parent


def main() -> None:
    params = yaml.safe_load((HERE / "params.yaml").read_text(encoding="utf-8"))
    groups = {group: [read(group, case, params) for case in params[group]["cases"]] for group in ("search", "report", "baselines")}
    text = [
        "# The recipe: what was tried, and what the choice gives",
        "",
        "Made by `make recipe`; the settings are in `params.yaml`, the protocol is in `README.md`. KL from the truth in nats.",
        "",
        f"## Search: data seeds {seeds(params['search']['common'])}, {params['search']['common']['members']} members each",
        "",
        *table(groups["search"]),
        "",
        f"## Report: data seeds {seeds(params['report']['common'])} unless named, {params['report']['common']['members']} members each",
        "",
        *table(groups["report"]),
        "",
        f"## Baselines: data seeds {seeds(params['baselines']['common'])}, {params['baselines']['common']['members']} members each",
        "",
        "Modes, high quality and total variation of the mode masses on 10,000 samples a member; coverage and AUC of 1,000 against 1,000 points.",
        "",
        *sample_table(groups["baselines"]),
        "",
    ]
    (HERE / "recipe.md").write_text("\n".join(text), encoding="utf-8")
    picture(groups["search"])


def read(group: str, case: str, params: dict[str, Any]) -> dict[str, Any]:
    result = json.loads((HERE / "results" / group / f"{case}.json").read_text(encoding="utf-8"))
    changes = params[group]["cases"][case]
    settings = {**params["base"], **params[group]["common"], **changes}
    return {**result, "case": case, "changes": changes, "model": settings["model"], "target": settings["target"]}


def seeds(common: dict[str, Any]) -> str:
    return f"{min(common['seeds'])} to {max(common['seeds'])}"


def table(rows: list[dict[str, Any]]) -> list[str]:
    lines = [
        "| case | what it changes | KL of a member | sd over members | KL of the ensemble | kernel density | weights |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        changes = ", ".join(f"{key} {value}" for key, value in row["changes"].items()) or "nothing"
        numbers = [f"{row[key]:.3f}" for key in ("kl", "kl_sd", "kl_ensemble", "kl_kde")]
        lines.append(f"| {row['case']} | {changes} | {' | '.join(numbers)} | {row['parameters']:,} |")
    return lines


def sample_table(rows: list[dict[str, Any]]) -> list[str]:
    lines = [
        "| case | what it changes | KL of a member | KL of the ensemble | modes | high quality | mode TV | coverage | classifier AUC | weights |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    digits = {"kl": 3, "kl_ensemble": 3, "modes": 1, "high_quality": 3, "mode_tv": 3, "coverage": 3, "c2st_auc": 3}
    for row in rows:
        changes = ", ".join(f"{key} {value}" for key, value in row["changes"].items() if key not in ("model", "log_every")) or "nothing"
        numbers = [f"{row[key]:.{places}f}" if key in row else "\u2013" for key, places in digits.items()]
        lines.append(f"| {row['case']} | {changes} | {' | '.join(numbers)} | {row['parameters']:,} |")
    return lines


def picture(rows: list[dict[str, Any]]) -> None:
    """A line a case: one dot per data seed, a bar at the mean, a diamond for the ensembles."""
    with plt.rc_context(plotting.STYLE):
        figure, axis = plt.subplots(figsize=(7.5, 0.24 * len(rows) + 1.2))
        places = range(len(rows) - 1, -1, -1)
        for place, row in zip(places, rows, strict=True):
            color = plotting.COLORS[row["model"]]
            axis.plot([part["kl"] for part in row["by_seed"]], [place] * len(row["by_seed"]), "o", markersize=4, color=color, alpha=0.5)
            axis.plot(row["kl"], place, "|", markersize=13, markeredgewidth=2, color=color)
            axis.plot(row["kl_ensemble"], place, "D", markersize=5, markerfacecolor="white", color=color)
            axis.plot(row["kl_kde"], place, "x", markersize=5, color=plotting.COLORS["kde"])
        axis.axvline(rows[0]["kl"], color="#999999", linewidth=0.8, linestyle=":")
        axis.set_xscale("log")
        axis.set_xticks([0.03, 0.05, 0.1, 0.2, 0.5, 1, 2, 10], ["0.03", "0.05", "0.1", "0.2", "0.5", "1", "2", "10"])
        axis.set_xticks([], minor=True)
        axis.set_yticks(list(places), [row["case"] for row in rows], fontsize=8)
        axis.set_xlabel("KL from the truth (nat)")
        axis.grid(axis="x", alpha=0.25)
        axis.set_title(
            "dot: data seed; bar: mean; diamond: ensemble; cross: kernel density\nblue: RealNVP; orange: Glow; dotted: the base", fontsize=9
        )
        figure.savefig(HERE / "recipe.png")
        plt.close(figure)


if __name__ == "__main__":
    main()
