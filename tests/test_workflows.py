"""The everyday work with DVC, as docs/dvc-recipes.md tells it: every command of the page in its order, in one sitting.

What the page shows of a command's output must be there. It comes from a run with the settings of the tests; where training rounds otherwise, as on
another processor, the numbers that it leads to may differ a little.
"""

from __future__ import annotations

import math
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from pipeline import RESULTS, ROOT, Clone, kill, stages_run

pytestmark = pytest.mark.slow

PAGE = ROOT / "docs/dvc-recipes.md"
# What is not run here, and where it is instead.
ELSEWHERE = {
    "make compare": "test_compare.py",
    "dvc remote add --default store s3:": "nowhere: DVC's own",
    "dvc remote modify": "nowhere: DVC's own",
    "cp ~/rows.csv": "test_pipeline.py",
    "dvc exp run -S data.target=table": "test_pipeline.py, by make repro",
}


@dataclass(frozen=True)
class Step:
    section: str
    command: str
    shown: list[str]


def steps() -> list[Step]:
    """The commands of the page, each with the lines that it shows below."""
    found: list[Step] = []
    section, inside = "", False
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            inside = line == "```console"
        elif not inside:
            section = line.lstrip("# ") if re.match("#+ ", line) else section
        elif line.startswith("$ "):
            found.append(Step(section, line[2:], []))
        elif line != "...":
            found[-1].shown.append(line)
    return [step for step in found if not step.command.startswith(tuple(ELSEWHERE))]


STEPS = steps()
SECTIONS = list(dict.fromkeys(step.section for step in STEPS))


def plain(line: str) -> str:
    """A line without what is different every time: identities, the time of day, places; and without the shape of tables and trees."""
    line = re.sub(
        r"\b(?=[0-9a-f]*[0-9])[0-9a-f]{7}\b", "<id>", re.sub(r"\d\d:\d\d [AP]M", "<time>", line)
    )
    return " ".join(re.sub(r"file://\S*/", "file:///.../", re.sub("[├└─]+", "", line)).split())


NUMBER = re.compile(r"-?\d+\.\d+")  # what is whole is no outcome of training


def same(shown: str, said: str) -> bool:
    if NUMBER.sub("<number>", shown) != NUMBER.sub("<number>", said):
        return False
    pairs = zip(NUMBER.findall(shown), NUMBER.findall(said), strict=True)
    return all(
        math.isclose(float(one), float(other), rel_tol=0.1, abs_tol=0.05) for one, other in pairs
    )


@dataclass
class Sitting:
    """A clone in which the sections of the page are run one after another, each once."""

    clone: Clone
    folder: Path
    done: list[str] = field(default_factory=list)
    before: dict[str, bytes] = field(default_factory=dict)

    def until(self, section: str) -> None:
        """Run the sections up to this one, as far as they have not run."""
        for each in SECTIONS[: SECTIONS.index(section) + 1]:
            if each not in self.done:
                self.done.append(each)
                if each == "Merge two branches":  # for who merges in another way
                    self.clone.copy(self.folder / "unmerged")
                for step in STEPS:
                    if step.section == each:
                        self.run(step)
                CHECKS.get(each, lambda sitting: None)(self)

    def run(self, step: Step) -> None:
        command = step.command.replace("/srv/store", str(self.folder / "store"))
        command = command.replace(
            "git clone ... new && cd new",
            f"git clone --quiet . {self.folder}/new && cd {self.folder}/new",
        )
        log = self.folder / "output"
        # In a file, as the workers of the queue keep the output open: through a pipe, a command would wait for them to end.
        started = self.clone.start("bash", "-c", command, output=log)
        status = started.wait(900)
        if "queue start" in command:
            self.wait_for_the_queue(started)
        said = log.read_text(encoding="utf-8")
        assert (status != 0) == ("# CONFLICT" in command), f"{command}\n{said}"
        lines = {plain(line) for line in said.splitlines()}
        missing = [
            line for line in step.shown if not any(same(plain(line), each) for each in lines)
        ]
        assert missing == [], f"{command}\n{said}"

    def wait_for_the_queue(self, started: subprocess.Popen[bytes]) -> None:
        """Now and then a worker never ends: where two start at the same moment, either may write the list of those that hear the message
        to end over the other's (`_queue_bind` of kombu's transport by files). Such a worker works, but `dvc queue stop` can't reach it."""
        try:
            deadline = time.monotonic() + 900
            while (
                re.search("Queued|Running", self.clone.dvc("queue", "status"))
                and time.monotonic() < deadline
            ):
                time.sleep(3)
        finally:
            kill(started)


@pytest.fixture(scope="module")
def sitting(finished: Clone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sitting]:
    folder = tmp_path_factory.mktemp("sitting")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "120")  # the table of experiments must fit
        clone = finished.copy(folder)
        clone.dvc("exp", "remove", "--all-commits")  # those of other tests
        yield Sitting(clone, folder, before=clone.contents(*RESULTS))


@pytest.mark.parametrize("section", SECTIONS)
def test_every_command_of_the_page_does_what_the_page_shows(sitting: Sitting, section: str) -> None:
    sitting.until(section)


# What else holds after a section


def assert_finished(clone: Clone) -> None:
    """Nothing is left to run, and nothing to commit."""
    assert "Data and pipelines are up to date." in clone.dvc("repro")
    assert clone.git("status", "--porcelain") == ""


def commit_of(clone: Clone, experiment: str) -> str:
    """An experiment is a commit that no branch holds."""
    refs = dict(
        line.split()[::-1]
        for line in clone.git(
            "for-each-ref", "--format=%(objectname) %(refname)", "refs/exps"
        ).splitlines()
    )
    (found,) = (commit for name, commit in refs.items() if name.endswith(f"/{experiment}"))
    return found


def after_the_look_around(sitting: Sitting) -> None:
    assert sitting.clone.contents(*RESULTS) == sitting.before
    assert sitting.clone.git("status", "--porcelain") == ""


def after_the_change(sitting: Sitting) -> None:
    changed = sitting.clone.git("diff", "--unified=0", "params.yaml").splitlines()
    assert [line for line in changed if re.match(r"[+-][^+-]", line)] == [
        "-    couplings: 2",
        "+    couplings: 3",
    ]
    touched = sitting.clone.git("diff", "--name-only").splitlines()
    assert "metrics/glow/history.csv" in touched
    assert not [name for name in touched if "realnvp" in name]


def after_the_grid(sitting: Sitting) -> None:
    clone = sitting.clone
    assert (
        clone.git("diff", "--name-only", commit_of(clone, "three"), commit_of(clone, "grid-1"))
        == ""
    )
    changed = clone.git("diff", "--name-only", "main", commit_of(clone, "grid-2")).splitlines()
    assert {"params.yaml", "dvc.lock", "metrics/glow.json"} <= set(changed)
    assert not [name for name in changed if "realnvp" in name]
    assert clone.git("status", "--porcelain") == ""  # the queue works in folders of its own


def after_the_table(sitting: Sitting) -> None:
    """In a terminal DVC leaves out what doesn't fit, in Markdown it leaves out nothing."""
    (command,) = (step.command for step in STEPS if "exp show" in step.command)
    table = sitting.clone.run("bash", "-c", f"{command} --md --no-pager").stdout
    assert max(map(len, table.splitlines())) <= 120
    assert "…" not in table


def after_keeping(sitting: Sitting) -> None:
    clone = sitting.clone
    # DVC leaves a note to itself in what it saves (and not in what it runs).
    assert (
        clone.git(
            "diff",
            "--name-only",
            commit_of(clone, "three"),
            commit_of(clone, "kept"),
            "--",
            ".",
            ":!.dvc/tmp/repro.dat",
        )
        == ""
    )
    assert_finished(clone)


def after_comparing(sitting: Sitting) -> None:
    clone = sitting.clone
    page, static = clone.text("dvc_plots/index.html"), clone.folder / "dvc_plots/static"
    pictures = clone.git("ls-files", "figures").splitlines()
    assert pictures
    for name in pictures:
        flat = name.replace("/", "_")
        assert {f'src="static/{side}_{flat}"' in page for side in ("main", "workspace")} == {True}
        assert (static / f"workspace_{flat}").read_bytes() == (clone.folder / name).read_bytes()
        shown = subprocess.run(
            ("git", "show", f"main:{name}"), cwd=clone.folder, capture_output=True, check=True
        ).stdout
        assert (static / f"main_{flat}").read_bytes() == shown
    assert_finished(clone)


def after_merging(sitting: Sitting) -> None:
    assert sitting.clone.git("diff", "--name-only", "deeper") == ""
    assert_finished(sitting.clone)


def after_sharing(sitting: Sitting) -> None:
    new = Clone(sitting.folder / "new")
    assert new.git("status", "--porcelain") == ""
    assert new.contents(*RESULTS) == sitting.clone.contents(*RESULTS)


CHECKS: dict[str, Callable[[Sitting], None]] = {
    "DVC recipes": after_the_look_around,
    "Change a setting": after_the_change,
    "Go back": after_the_look_around,
    "Run a grid": after_the_grid,
    "Show experiments in a table": after_the_table,
    "Keep an experiment": after_keeping,
    "Compare two branches": after_comparing,
    "Merge two branches": after_merging,
    "Share data and models": after_sharing,
}


def test_every_check_belongs_to_a_section_of_the_page() -> None:
    assert CHECKS.keys() <= set(SECTIONS)


def test_a_merge_is_settled_without_a_run_where_the_lock_is_deleted_too(sitting: Sitting) -> None:
    sitting.until("Merge two branches")
    clone = Clone(sitting.folder / "unmerged/clone")
    clone.git("switch", "--quiet", "main")
    clone.dvc("checkout")
    assert clone.run("git", "merge", "deeper", check=False).returncode
    clone.git("checkout", "--theirs", "params.yaml")
    (clone.folder / "dvc.lock").unlink()
    assert stages_run(clone.dvc("repro")) == []
    clone.git("commit", "--quiet", "--all", "--message", "Merge")
    assert clone.git("status", "--porcelain") == ""
    assert clone.git("diff", "--name-only", "deeper") in (
        "",
        "dvc.lock\n",
    )  # where the stages are written in another order
    assert yaml.safe_load(clone.git("show", "deeper:dvc.lock")) == yaml.safe_load(
        clone.text("dvc.lock")
    )
