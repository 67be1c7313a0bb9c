"""Files of release 0.3 without labels: their content as this release writes it.

The module goes with release 0.5, and with it the reading of these files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from flows.core.checkpoint import CheckpointError

LABELS = "was fitted by release 0.3, which learned labels as numbers; fit the table again"
# The beginnings of the names of tensors, and what they are now
RENAMED = {"targets": {"network.": "flow."}, "mixtures": {"network.": "parts.0."}}
PARTS = {"dtype": "types", "decimals": "decimals"}  # of a table, by their names in a field


def upgraded(
    description: Mapping[str, Any], state: Mapping[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the description and the tensors of a file of release 0.3 as this release has them.

    The content of a newer file is returned unchanged.

    Args:
        description: the description in the file.
        state: the tensors, by name.

    Raises ``CheckpointError`` for an ensemble or a target with labels to learn from.
    """
    about, tensors = dict(description), dict(state)
    if about["model"] == "target":
        about["model"] = "truth"
    if columns := about.pop("columns", None):
        learned = columns[: about["context"]] if "targets" in about else columns
        if about.keys() & RENAMED.keys() and any(each["kind"] == "category" for each in learned):
            raise CheckpointError(LABELS)
        table = about.get("table", {})
        about["to_real"] = {"name": "columns", "columns": [_field(each, table) for each in columns]}
        if table:
            about["table"] = _table(table)
    names = {old: new for key in RENAMED.keys() & about.keys() for old, new in RENAMED[key].items()}
    if count := about.pop("mixtures", 0):
        own = {"to_real": about["to_real"]} if "to_real" in about else {}
        about["parts"] = [{"model": "mixture", **own}] * count
        names |= {f"mixtures.{k}.": f"parts.{k + 1}." for k in range(count)}
    for old, new in names.items():
        for name in [name for name in tensors if name.startswith(old)]:
            tensors[new + name.removeprefix(old)] = tensors.pop(name)
    if (training := about.get("training")) and "members" in training:
        members = [_member(**each) for each in training["members"]]
        about["training"] = {**training, "members": members}
    return about, tensors


def _field(column: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON of a field. A table listed the types and the decimals of its columns."""
    found, name = dict(column), column["name"]
    if "largest" in found:
        found["farthest"] = found.pop("largest")
    of_table = {key: table.get(part, {}).get(name) for key, part in PARTS.items()}
    return found | {key: value for key, value in of_table.items() if value is not None}


def _table(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON of a schema."""

    def excluded(role: str, name: str) -> dict[str, Any]:
        return {"role": role, "name": name, "dtype": table["types"].get(name)}

    unlearned: list[dict[str, Any]] = []
    for each in table["carried"]:
        field = _field(each["column"], table)
        unlearned.append(
            {"role": "carried", "field": field, "offset": each["offset"], "terms": each["terms"]}
        )
    unlearned += [excluded("identifier", name) for name in table["excluded"]]
    if (weights := table.get("weights")) is not None:
        unlearned.append(excluded("weights", weights))
    return {"names": table["names"], "unlearned": unlearned, "na": table["na"]}


def _member(
    fold: int,
    settings: Mapping[str, Any] | None = None,
    steps: int | None = None,
    regularisation: str = "",
) -> dict[str, Any]:
    """Return the JSON of the record of a member, whose settings were a sentence."""
    if settings is not None:
        return {"fold": fold, "settings": settings, "steps": steps}
    preprocessing, *others = regularisation.split(", ")
    found: dict[str, Any] = {"preprocessing": preprocessing}
    for words in others:  # such as "noise 0.35", or "3 Gaussians"
        key, value = words.rsplit(maxsplit=1)
        if value.startswith(("Gaussian", "class")):
            found["components"] = int(key)
        else:
            found[key] = float(value)
    return {"fold": fold, "settings": found, "steps": steps}
