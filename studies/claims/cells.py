"""The cells of the study of claims, and the functions that score them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import product
from typing import Any

from common import references
from common.settings import Train, check, read_yaml
from flows.core.errors import UserError
from flows.networks import registry
from flows.workers import PACKAGES as PACKAGES
from studies.claims import images, matching, mixtures, plane, refits
from studies.digits.cells import CHANGED, TOLERANCE
from studies.engine import HERE, SMALL, Cell, Family, check_names

PIPELINE = HERE.parent / "params.yaml"
CURVE_REFERENCES = ("gmm", "kde")  # compared with the flows for several numbers of rows
MIXTURE_MODELS = ("realnvp", "glow", "nsf")  # scored on random mixtures
# With the recipe for tables: version 2 has other tails and ends earlier; version 4 has mixtures in
# the ensemble, and a lasso instead of component noise
RECIPE_CHANGED = {"kl": 4, "kl_worst": 4, "costliest": 4, "kl_ensemble": 4}
# Images, and flows over a mixture, train in plain torch, whose last bits depend on the processor;
# they have the tolerance of the study of digits
FAMILIES = {
    "truth": Family(plane.truth, changed=CHANGED),
    "depth": Family(plane.depth, changed=CHANGED),
    "control": Family(plane.control),
    "equal": Family(plane.equal, changed=CHANGED),
    "curve": Family(plane.curve),
    "reference": Family(plane.reference),
    "ablation": Family(plane.ablation),
    "mixture_base": Family(plane.ablation, tolerance=TOLERANCE),
    "other_data": Family(mixtures.other_data),
    "mixtures": Family(mixtures.in_the_plane),
    "mixtures_auto": Family(mixtures.automatic, changed=RECIPE_CHANGED, tolerance=TOLERANCE),
    "refits": Family(refits.refits, tolerance={"*": 0.1}),
    "matching": Family(matching.network, changed=CHANGED),
    "matching_reference": Family(matching.reference, changed=CHANGED),
    "images": Family(images.variant, changed=CHANGED, tolerance=TOLERANCE),
}


def cells(params: dict[str, Any]) -> Iterator[Cell]:
    """Yield all cells of ``params.yaml``."""
    protocol, base = params["protocol"], params["base"]
    plain = {"protocol": protocol, "base": base}
    yield "truth", {"protocol": protocol}
    for model, couplings in product(params["flows"], params["couplings"]):
        own = {"model": model, "couplings": couplings}
        yield f"depth/{model}/{couplings}", {**own, **plain}
        yield f"control/{model}/{couplings}", {**own, **params["control"], **plain}
    for rows in params["curve"]["rows"]:
        for model in params["flows"]:
            own = {"model": model, "rows": rows, **params["curve"]["flows"]}
            yield f"curve/{model}/{rows}", {**own, **plain}
        for name in CURVE_REFERENCES:
            own = {"name": name, "rows": rows, **params["curve"]["references"]}
            yield f"reference/{name}/{rows}", {**own, "protocol": protocol}
    ablation = params["ablation"]
    for model, (name, remedy) in product(params["flows"], ablation["remedies"].items()):
        own = {"model": model, "couplings": ablation["couplings"], "remedy": remedy}
        yield f"{family_of(remedy)}/{model}/{name}", {**own, **plain}
    for model, changes in params["equal"].items():
        yield f"equal/{model}", {"protocol": protocol, **pipeline_settings(model, changes)}
    other = params["other_data"]
    for (target, about), (name, flow) in product(other["targets"].items(), other["flows"].items()):
        data = {"target": target, "components": [], **about, **other["protocol"]}
        yield f"other_data/{target}/{name}", {**data, **pipeline_settings(**flow)}
    for model in MIXTURE_MODELS:
        yield f"mixtures/{model}", {**params["mixtures"]["plane"], **pipeline_settings(model)}
    for seed in auto_seeds(params):
        yield f"mixtures_auto/{seed}", {"seed": seed, **params["mixtures"]["auto"]}
    yield from of_refits(params["refits"])
    yield from of_matching(params["matching"])
    for name, own in params["images"]["variants"].items():
        yield f"images/{name}", {**own, "protocol": params["images"]["protocol"]}
    yield from small(params)


def family_of(remedy: dict[str, Any]) -> str:
    """Return the family of the cells of a remedy against overfitting."""
    return "mixture_base" if "components" in remedy else "ablation"


def auto_seeds(params: dict[str, Any]) -> range:
    """Return the seeds of the random mixtures that the automatic recipe learns."""
    own = params["mixtures"]["auto_seeds"]
    return range(own["first"], own["first"] + own["count"])


def of_refits(params: dict[str, Any]) -> Iterator[Cell]:
    """Yield the cells of fits to new rows of the same truth."""
    shared, random = params["shared"], params["random"]
    for seed, columns in enumerate(random["columns"], random["first"]):
        own = {"truth": refits.RANDOM, "columns": columns, "seed": seed}
        yield f"refits/{refits.RANDOM}/{columns}", {**own, **shared}
    for table in params["tables"]:
        yield f"refits/{table}", {"truth": table, "seed": 0, **shared}


def of_matching(params: dict[str, Any]) -> Iterator[Cell]:
    """Yield the cells of flow matching, coupling flows and references."""
    protocol = params["protocol"]
    check_names(params["references"], references.NAMES, "matching.references")
    own = {name: pipeline_settings(name, changes) for name, changes in params["models"].items()}
    matching = own["flow_matching"]
    for target in params["targets"]:
        here = {"target": target, "protocol": protocol}
        for name, settings in own.items():
            yield f"matching/{target}/{name}", {**here, **settings}
        for name in params["references"]:
            given = {"name": name, "settings": reference_settings(name)}
            yield f"matching_reference/{target}/{name}", {**here, **given}
    here = {"target": "ring", "protocol": protocol}
    for name in (name for name in own if name != "flow_matching"):
        yield f"matching/ring/{name}_equal_cost", {**here, **own[name], "cost_of": matching}
    bare = {**matching, "training": {**matching["training"], "noise": 0}}
    yield "matching/ring/flow_matching_bare", {**here, **bare}
    short = {**matching["training"], "epochs": params["exact_epochs"]}
    yield (
        "matching/ring/flow_matching_exact",
        {**here, **matching, "training": short, "exact": True},
    )


def reference_settings(name: str) -> dict[str, Any]:
    """Return the settings that the pipeline's ``params.yaml`` gives a reference."""
    sections = _read(PIPELINE).get("references", {})
    if name not in sections:
        raise UserError(f"{PIPELINE}: references.{name} is missing")
    return dict(sections[name] or {})  # YAML reads a key without a value as null


def small(params: dict[str, Any]) -> Iterator[Cell]:
    """Yield a quick cell of each family that trains, for ``check``; these are in no table."""
    changes, images = params[SMALL], params["images"]
    protocol, base = params["protocol"] | changes["protocol"], params["base"] | changes["base"]
    plain = {"model": "glow", "couplings": 2, "protocol": protocol, "base": base}
    for family, own in changes["glow"].items():
        yield f"{family}/{SMALL}", {**own, **plain}
    short = pipeline_settings("nsf")
    short["training"] |= changes["base"]
    yield f"equal/{SMALL}", {"protocol": protocol, **short}
    for family, own in changes["nsf"].items():
        yield f"{family}/{SMALL}", {**own, **short}
    yield f"mixtures_auto/{SMALL}", changes["auto"]
    yield f"refits/{SMALL}", changes["refits"]
    own = images["variants"]["glow"] | changes["images"]
    own_protocol = images["protocol"] | changes["images"]["protocol"]
    yield f"images/{SMALL}", {**own, "protocol": own_protocol}


_read = cache(read_yaml)  # read once, not for every cell


def pipeline_settings(model: str, changes: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the settings of a model in the pipeline's ``params.yaml``, with ``changes``."""
    params = _read(PIPELINE)
    train, prefix = check(params.get("train"), Train, PIPELINE, "train"), f"models.{model}"
    if model not in params.get("models", {}):
        raise UserError(f"{PIPELINE}: {prefix} is missing")
    section = params["models"][model] or {}  # YAML reads a key without a value as null
    try:
        architecture, training = registry.parse_section(model, section, train, prefix=prefix)
    except (LookupError, ValueError) as error:
        raise UserError(f"{PIPELINE}: {error.args[0]}") from None
    settings = {**architecture.model_dump(exclude_unset=True), **(changes or {})}
    return {
        "model": model,
        "settings": settings,
        "training": training.model_dump(exclude={"members"}),
    }
