"""``make verify``: every kind of movement is named, and the three cases are told apart.

The pipeline does not run for it.
"""

from __future__ import annotations

import io
import json
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from tools import command, verify

Files = dict[str, bytes]
WIDTH = 120  # columns of a terminal


def stage(command: str, deps: list[str], outs: list[str], **params: Any) -> dict[str, Any]:
    """An entry of a lock; the hash of a file tells its path."""
    files = {"deps": deps, "outs": outs}
    entries = {
        key: [
            {"path": path, "hash": "md5", "md5": path.encode().hex().rjust(32, "0")[-32:]}
            for path in its
        ]
        for key, its in files.items()
    }
    return {
        "cmd": command,
        "deps": entries["deps"],
        "params": {"params.yaml": params},
        "outs": entries["outs"],
    }


STAGES = {
    "generate": stage(
        "python -m stages.generate",
        ["stages/generate.py"],
        ["data/raw.csv"],
        **{"data.samples": 1000},
    ),
    "train@glow": stage(
        "python -m stages.train glow",
        ["data/raw.csv", "stages/train.py"],
        ["models/glow.safetensors"],
    ),
    "evaluate@glow": stage(
        "python -m stages.evaluate glow", ["models/glow.safetensors"], ["metrics/glow.json"]
    ),
    "plot": stage("python -m stages.plot", ["metrics"], ["figures/density.png"]),
}


@pytest.fixture(scope="module")
def committed() -> Files:
    """What a pipeline writes, in small: the numbers are made up."""
    rng = np.random.default_rng(0)
    files = {
        "dvc.lock": yaml.safe_dump({"schema": "2.0", "stages": STAGES}, sort_keys=False).encode()
    }
    for name, members in (("glow", 10), ("vae", 10), ("gan", 10), ("gmm", 1), ("truth", 100)):
        headline = {
            "test_nll": 3.67,
            "test_nll_ci95": 0.14,
            "kl": 0.0743346,
            "kl_sd": 0.0022 if members == 10 else None,
            "modes": 8.0,
        }
        headline |= {"precision": 0.971, "recall": 0.9785} | (
            {"kl": None, "kl_sd": None} if name == "gan" else {}
        )
        files[f"metrics/{name}.json"] = json.dumps(headline, indent=2).encode()
        columns = {
            column: rng.normal(1, 0.1, members).round(6)
            for column in ("test_nll", "kl", "recall", "sliced_wasserstein")
        }
        files[f"metrics/{name}/members.csv"] = csv(
            pd.DataFrame({"draw" if name == "truth" else "member": np.arange(members), **columns})
        )
    files["metrics/ranking.json"] = json.dumps(
        {"glow": {"gain": 0.01, "gain_ci95": 0.02, "gain_over": "gmm"}}
    ).encode()
    epochs = np.arange(10, 101, 10)
    files["metrics/glow/history.csv"] = csv(
        pd.DataFrame({"epoch": epochs, "train_nll": 3 + 1 / epochs, "test_nll": 4 + 1 / epochs})
    )
    for name in ("density", "samples"):
        buffer = io.BytesIO()
        Image.new("RGB", (200, 50), (0, 120, 200)).save(buffer, format="png")
        files[f"figures/{name}.png"] = buffer.getvalue()
    return files


def csv(table: pd.DataFrame) -> bytes:
    return table.to_csv(
        index=False, lineterminator="\n", na_rep="NaN", float_format="%.7g"
    ).encode()


def edit_json(files: Files, path: str, **values: float | None) -> Files:
    return {**files, path: json.dumps({**json.loads(files[path]), **values}).encode()}


def edit_csv(files: Files, path: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Files:
    return {**files, path: csv(change(pd.read_csv(io.BytesIO(files[path]))))}


def edit_picture(files: Files, path: str, pixels: int, crop: int = 0) -> Files:
    with Image.open(io.BytesIO(files[path])) as image:
        picture = image.convert("RGB").crop((0, 0, image.width - crop, image.height))
    for x in range(pixels):
        picture.putpixel((x, 0), (1, 2, 3))
    buffer = io.BytesIO()
    picture.save(buffer, format="png")
    return {**files, path: buffer.getvalue()}


def explain(committed: Files, here: Files) -> tuple[int, list[str], str]:
    """The case, the lines of the files that moved, and all of it as one text."""
    case, lines = verify.explain(committed, here)
    assert [line for line in lines if len(line) > WIDTH or "\n" in line] == []
    assert lines[-1].startswith(f"verify: case {case}:")
    return (
        case,
        [line.strip() for line in lines if re.match(r"  (metrics/|figures/|dvc\.lock)", line)],
        "\n".join(lines),
    )


# The cases


def test_case_1_is_one_line(committed: Files):
    assert verify.explain(committed, dict(committed)) == (
        1,
        ["verify: case 1: every tracked file came out byte for byte"],
    )


@pytest.mark.parametrize(
    ("model", "spread", "members"),
    [("glow", True, 10), ("vae", True, 10), ("gmm", False, 1), ("truth", False, 100)],
)
def test_the_tolerance_of_a_kl_is_where_case_2_ends(
    committed: Files, model: str, spread: bool, members: int
):
    path = f"metrics/{model}.json"
    before = json.loads(committed[path])
    tolerance = 3 * (2 / members) ** 0.5 * before["kl_sd"] if spread else 0.001
    for share, expected, word in ((0.99, 2, "within"), (1.01, 3, "BEYOND")):
        case, files, text = explain(
            committed, edit_json(committed, path, kl=before["kl"] + share * tolerance)
        )
        assert case == expected
        assert [file.split(":")[0] for file in files] == [path]
        assert (
            f"{word} the tolerance of {tolerance:.2g}"
            in re.findall(rf"^  {model}: .*$", text, flags=re.M)[0]
        )
        assert text.count("BEYOND") == (expected == 3)
    assert text.endswith(f"case 3: FAILED: kl of {model} is not within its tolerance")


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_a_kl_that_is_no_number_any_more_is_case_3(committed: Files, value: float | None):
    case, _, text = explain(committed, edit_json(committed, "metrics/glow.json", kl=value))
    assert case == 3
    assert "FAILED: kl of glow" in text


def test_a_file_that_is_missing_or_new_is_case_3(committed: Files):
    case, files, text = explain(
        committed,
        {name: content for name, content in committed.items() if name != "metrics/glow.json"},
    )
    assert (case, files) == (3, ["metrics/glow.json: is missing here"])
    assert text.endswith("FAILED: metrics/glow.json: is missing here")
    case, files, _ = explain(
        committed, {**committed, "figures/new.png": b"", "metrics/new.json": b"{}"}
    )
    assert (case, files) == (
        3,
        ["figures/new.png: is not committed", "metrics/new.json: is not committed"],
    )


def test_of_many_failures_the_first_is_named_and_the_others_are_counted(committed: Files):
    here = {name: content for name, content in committed.items() if not name.startswith("figures")}
    _, files, text = explain(committed, edit_json(here, "metrics/vae.json", kl=1.0))
    assert len(files) == 3
    assert text.endswith("FAILED: kl of vae is not within its tolerance, and 2 more")


# What moved


def test_a_number_of_one_member_is_named_with_its_member_and_column(committed: Files):
    def change(table: pd.DataFrame) -> pd.DataFrame:
        table.loc[3, "recall"] *= 1.001
        table.loc[7, "kl"] *= 1.5
        return table

    case, files, _ = explain(committed, edit_csv(committed, "metrics/glow/members.csv", change))
    old = pd.read_csv(io.BytesIO(committed["metrics/glow/members.csv"])).loc[7, "kl"]
    assert case == 2
    assert len(files) == 1
    assert re.fullmatch(
        rf"metrics/glow/members\.csv: 2 of 40 moved, most member 7, kl: {old} -> \S+ \(\+50%\)",
        files[0],
    )


def test_a_number_of_one_epoch_is_named_with_its_epoch(committed: Files):
    case, files, _ = explain(
        committed,
        edit_csv(
            committed,
            "metrics/glow/history.csv",
            lambda table: table.replace({"test_nll": {4.1: 4.100001}}),
        ),
    )
    assert (case, files) == (
        2,
        [
            "metrics/glow/history.csv: 1 of 20 moved, most epoch 10, test_nll: "
            "4.1 -> 4.100001 (+2.44e-05%)"
        ],
    )


def test_a_headline_number_is_named_with_its_key(committed: Files):
    case, files, _ = explain(
        committed, edit_json(committed, "metrics/glow.json", recall=0.5, precision=0.972)
    )
    assert case == 2
    assert files == ["metrics/glow.json: 2 of 7 moved, most recall: 0.9785 -> 0.5 (-48.9%)"]


def test_a_number_that_is_none_any_more_moved_most(committed: Files):
    _, files, _ = explain(
        committed, edit_json(committed, "metrics/gan.json", modes=None, recall=0.1)
    )
    assert files[0].startswith("metrics/gan.json: 2 of 7 moved, most modes: 8.0 -> null")
    _, files, _ = explain(
        committed,
        edit_csv(
            committed, "metrics/gan/members.csv", lambda table: table.assign(recall=float("nan"))
        ),
    )
    assert re.search(r"10 of 40 moved, most member 0, recall: \S+ -> NaN", files[0])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda table: table.drop(index=9),
            "4 values are missing and 0 new: no member 9, test_nll any more",
        ),
        (
            lambda table: table.assign(extra=1),
            "0 values are missing and 10 new: member 0, extra is new",
        ),
        (lambda table: table.assign(member=0), "can't be read (a member is there twice)"),
    ],
    ids=["row", "column", "twice"],
)
def test_other_rows_or_columns_are_case_3(
    committed: Files, change: Callable[[pd.DataFrame], pd.DataFrame], said: str
):
    case, files, _ = explain(committed, edit_csv(committed, "metrics/glow/members.csv", change))
    assert (case, files) == (3, [f"metrics/glow/members.csv: {said}"])


def test_other_keys_are_case_3(committed: Files):
    case, files, _ = explain(committed, edit_json(committed, "metrics/glow.json", extra=1.0))
    assert (case, files) == (3, ["metrics/glow.json: 0 values are missing and 1 new: extra is new"])


@pytest.mark.parametrize(
    "path", ["metrics/glow.json", "metrics/glow/members.csv", "figures/density.png", "dvc.lock"]
)
def test_a_damaged_file_is_named_and_case_3(committed: Files, path: str):
    case, files, _ = explain(committed, {**committed, path: b"\x89{"})
    assert case == 3
    assert [file.split(" (")[0] for file in files] == [f"{path}: can't be read"]


def test_bytes_without_a_number_are_told_as_such(committed: Files):
    here = {
        **committed,
        "metrics/glow.json": committed["metrics/glow.json"] + b"\n",
        "figures/new.txt": b"ab",
    }
    case, files, _ = explain({**committed, "figures/new.txt": b"abc"}, here)
    assert case == 2
    assert files == [
        "figures/new.txt: other bytes, 3 -> 2 of them",
        "metrics/glow.json: other bytes, but every number is the same",
    ]


def test_pixels_are_counted_and_another_size_is_named(committed: Files):
    path = "figures/density.png"
    with Image.open(io.BytesIO(committed[path])) as image:
        width, height = image.size
    committed = edit_picture(committed, path, 0)
    case, files, _ = explain(committed, edit_picture(committed, path, 100))
    assert (case, files) == (
        2,
        [f"{path}: {100 * 100 / (width * height):.2g}% of the pixels differ"],
    )
    case, files, _ = explain(committed, edit_picture(committed, path, 0, crop=10))
    assert (case, files) == (2, [f"{path}: {width} x {height} pixels -> {width - 10} x {height}"])
    buffer = io.BytesIO()
    Image.open(io.BytesIO(committed[path])).save(buffer, format="png", compress_level=1)
    assert explain(committed, {**committed, path: buffer.getvalue()})[1] == [
        f"{path}: other bytes, but every pixel is the same"
    ]


def test_every_frame_of_a_gif_counts(committed: Files):
    def gif(*shades: int) -> bytes:
        buffer = io.BytesIO()
        first, *others = [Image.new("RGB", (10, 10), (shade, 0, 0)) for shade in shades]
        first.save(buffer, format="gif", save_all=True, append_images=others)
        return buffer.getvalue()

    path = "figures/layers.gif"
    committed = {**committed, path: gif(0, 100, 200, 250)}
    assert explain(committed, {**committed, path: gif(0, 100, 210, 250)})[1] == [
        f"{path}: 25% of the pixels differ"
    ]
    assert explain(committed, {**committed, path: gif(0, 100, 200)})[1] == [
        f"{path}: 4 frames -> 3"
    ]


def lock(committed: Files, *changes: tuple[str, str]) -> Files:
    text = committed["dvc.lock"].decode()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return {**committed, "dvc.lock": text.encode()}


def md5(path: str) -> str:
    return next(
        entry["md5"]
        for each in STAGES.values()
        for entry in (*each["deps"], *each["outs"])
        if entry["path"] == path
    )


def test_the_lock_tells_other_bits_from_other_code_or_settings(committed: Files):
    made = (
        md5("figures/density.png"),
        md5("models/glow.safetensors"),
        md5("metrics"),
    )  # the last is a folder of what others made
    case, files, text = explain(committed, lock(committed, *((path, "f" * 32) for path in made)))
    assert case == 2
    assert "case 2: other bits" in text
    assert files == ["dvc.lock: 3 of 4 stages moved, none by code or settings"]
    case, files, text = explain(
        committed,
        lock(
            committed,
            (md5("stages/train.py"), "e" * 32),
            (md5("models/glow.safetensors"), "f" * 32),
        ),
    )
    assert files == ["dvc.lock: 2 of 4 stages moved, 1 by code or settings, first train@glow"]
    assert case == 2
    assert "case 2: dvc.lock is of other code or settings" in text
    _, files, _ = explain(committed, lock(committed, ("samples: 1000\n", "samples: 1001\n")))
    assert files == ["dvc.lock: 1 of 4 stages moved, 1 by code or settings, first generate"]


def test_a_lock_of_other_stages_is_case_3(committed: Files):
    case, files, _ = explain(committed, lock(committed, ("\n  train@glow:\n", "\n  train@glue:\n")))
    assert case == 3
    assert files == ["dvc.lock: stage train@glow is missing here"]
    _, files, _ = explain(committed, {**committed, "dvc.lock": committed["dvc.lock"] + b"\n"})
    assert files == ["dvc.lock: other bytes, but every entry is the same"]


def test_every_line_fits_a_terminal_where_everything_moved(committed: Files):
    def all_of_it(table: pd.DataFrame) -> pd.DataFrame:
        numbers = table.iloc[:, 1:] * -1.000012
        longest = "sliced_wasserstein" if "sliced_wasserstein" in table else numbers.columns[-1]
        numbers.loc[len(table) - 1, longest] = -1.23456e-05
        return pd.concat([table.iloc[:, :1], numbers], axis=1)

    here = dict(committed)
    for path in committed:
        if path.endswith(".csv"):
            here = edit_csv(here, path, all_of_it)
        elif path.endswith(".json"):
            here = edit_json(here, path, **dict.fromkeys(json.loads(committed[path]), -1.23456e-05))
        elif path.endswith(".png"):
            here = edit_picture(here, path, 50)
    case, files, _ = explain(committed, here)
    assert case == 3
    assert len(files) == sum(path.endswith((".csv", ".json", ".png")) for path in committed)


# The machines


@pytest.mark.skipif(platform.machine() != "x86_64", reason="no other machine is stood in for")
def test_every_machine_has_the_openblas_that_it_is_meant_to_have(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(
        "OPENBLAS_CORETYPE", "Sandybridge"
    )  # of the caller: it is none of this machine
    monkeypatch.setenv("OPENBLAS_VERBOSE", "0")
    cores = []
    for variables in verify.machines().values():
        environment = {**verify.environment(variables), "OPENBLAS_VERBOSE": "2"}
        done = subprocess.run(
            [sys.executable, "-c", "import numpy, scipy.linalg"],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        )
        cores.append(set(re.findall(r"^Core: (\w+)", done.stdout + done.stderr, flags=re.M)))
    assert cores[1:] == [{"Haswell"}, {"Nehalem"}]
    assert "Sandybridge" not in cores[0]


# The command


PIPELINE = """\
import os, pathlib
exec(os.environ["CHANGE"])
"""
MOVED = (
    "p = pathlib.Path('metrics/glow.json'); "
    "p.write_text(p.read_text().replace('0.0743346', '0.0743347'))"
)


@pytest.fixture
def repository(tmp_path: Path, committed: Files, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose pipeline does what ``CHANGE`` says."""
    files = {
        **committed,
        ".gitignore": b"__pycache__/\n",
        "tools/__init__.py": b"",
        "tools/repro.py": PIPELINE.encode(),
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    for words in (
        ("init", "--quiet"),
        ("add", "--all"),
        (*identity, "commit", "--quiet", "--message", "All"),
    ):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("change", "options", "status", "last"),
    [
        ("", ["--same"], 0, "case 1: "),
        (MOVED, [], 0, "case 2: "),
        (MOVED, ["--same"], 1, "FAILED: the bytes had to be the same"),
        (
            "pathlib.Path('figures/density.png').unlink()",
            [],
            1,
            "case 3: FAILED: figures/density.png: is missing here",
        ),
        ("pathlib.Path('new').touch()", [], 1, "case 3: FAILED: new: is not committed"),
        ("raise SystemExit(1)", [], 1, "FAILED: the pipeline does not run in a clean clone"),
    ],
    ids=["1", "2", "2 where the bytes had to be the same", "missing", "extra", "no run"],
)
def test_the_command_says_the_case_in_its_last_line_and_in_its_status(
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: str,
    options: list[str],
    status: int,
    last: str,
):
    monkeypatch.setenv("CHANGE", change)
    assert verify.main(options) == status
    said = capsys.readouterr().out.splitlines()
    assert said[-1].startswith(f"verify: {last}")
    assert "not committed; what" not in "".join(said)
    assert command.git("status", "--porcelain") == ""  # the run was in a clone


def test_changes_that_are_not_committed_are_told(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("CHANGE", "")
    (repository / "metrics/glow.json").write_text("{}")
    assert verify.main() == 0
    assert "what is verified is the last commit" in capsys.readouterr().out
