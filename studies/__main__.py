"""The studies: ``python -m studies run|report|check NAME`` from the top folder.

FLOWS_WORKERS selects the workers that score cells: empty, this process; a number, that number of
processes; tcp://host:port, the workers of a Dask cluster (docs/scale.md).
"""

from __future__ import annotations

import argparse

from matplotlib import rc_context

from flows.plotting.style import STYLE
from studies import engine
from studies.engine import NAMES, Study
from tools import command


def main(arguments: list[str] | None = None) -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="studies", description=__doc__, formatter_class=form)
    verbs = parser.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser("run", help="score the missing and outdated cells")
    run.add_argument(
        "--fresh",
        action="store_true",
        help="also score cells that have rows; these rows are dropped",
    )
    report = verbs.add_parser("report", help="write the tables and figures from the rows")
    check = verbs.add_parser("check", help="score cells again, and compare them with the rows")
    for verb in (run, report, check):
        verb.add_argument("name", choices=NAMES)
    what = "names of cells, or their first parts"
    run.add_argument("--cells", nargs="+", metavar="CELL", help=f"only these {what}")
    what += "; or a number of cells to draw (default: the cells named small)"
    check.add_argument("--cells", nargs="+", metavar="CELL", help=what)
    check.add_argument("--seed", type=int, default=0, help="seed of the draw")
    options = parser.parse_args(arguments)
    study = Study(options.name)
    if options.verb == "run":
        names = engine.select(study, options.cells) if options.cells else None
        return 0 if engine.run(study, names, fresh=options.fresh) else 1
    if options.verb == "check":
        if not options.cells:
            names = engine.small(study)
        elif len(options.cells) == 1 and options.cells[0].isdigit() and int(options.cells[0]):
            names = engine.draw_cells(study, int(options.cells[0]), options.seed)
        else:
            names = engine.select(study, options.cells)
        return 1 if engine.check(study, names) else 0
    with rc_context(STYLE):
        study.report()
    return 0


if __name__ == "__main__":
    stopped = "stopped; finished cells are kept; a run without --fresh continues with the others"
    command.run("studies", main, stopped)
