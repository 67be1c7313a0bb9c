"""The report of a fit: a page of HTML."""

from __future__ import annotations

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from frames import clinic, every_sort, wards
from helpers import few_samples

import flows
from flows.__main__ import main
from flows.tables.density import report as reports

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("few_samples"),
    pytest.mark.filterwarnings("error::RuntimeWarning"),
]

QUICK: Any = {"members": 5, "settings": {"recipe": "quick", "hidden": 8}}
HOSTILE = '<script>alert("column")</script>'
LABEL = "<img src=x onerror=alert(1)> $\\frac{$"


class Page(HTMLParser):
    """The tags, the text and the sections of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags, self.texts = list[tuple[str, dict[str, Any]]](), list[str]()
        self.headings = list[str]()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] == "h3":
            self.headings.append(data)
        self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, Any]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def sections(self) -> list[str]:
        return [each["id"] for each in self.all("section")]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def page(frame: pd.DataFrame, rows: pd.DataFrame | None = None, **options: Any) -> Page:
    """Return the page of a short fit of a frame."""
    density = flows.fit(frame, **QUICK, **options)
    return Page(density.report(frame if rows is None else rows).html)


@pytest.fixture(scope="module")
def of_wards() -> Page:
    with few_samples():
        return page(wards())


def test_a_report_says_what_was_fitted_and_shows_every_part_in_order(of_wards):
    found = of_wards
    expected = ["mind", "columns", "pairs", "calibration", "strangest", "traces", "repeat"]
    assert found.sections == expected
    assert "fitted to 4 columns of 120 rows: a held-out row is" in found.text
    assert "likely than under one Gaussian" in found.text
    assert "flows.verify(density, frame)" in found.text
    assert {"age", "ward", "bmi", "share"} <= {*found.headings}


def test_a_report_loads_nothing_and_describes_its_pictures(of_wards):
    assert not of_wards.all("script")
    assert not of_wards.all("link")
    pictures = of_wards.all("img")
    assert len(pictures) >= 8
    for each in pictures:
        assert each["src"].startswith("data:image/png;base64,")
        assert len(each["alt"]) > 10


def test_names_and_labels_of_a_user_are_escaped():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({HOSTILE: rng.normal(size=60), "ward": ["a", LABEL] * 30, "$x$": 1.0})
    frame["$x$"] = rng.normal(size=60)
    density = flows.fit(frame, **QUICK)
    found = Page(density.report(frame).html)
    assert not found.all("script")
    assert not [each for each in found.all("img") if "onerror" in each or each["src"] == "x"]
    assert HOSTILE in found.text
    assert "$x$" in found.text
    for html in (density._repr_html_(), density.check(frame)._repr_html_()):
        shown = Page(html)
        assert not shown.all("script")
        assert not shown.all("img")
        assert HOSTILE in shown.text


def to_mind(density: flows.Density, rows: pd.DataFrame) -> str:
    """Return the text of the part "What to mind"."""
    found = Page(density.report(rows).html).text
    return found[found.index("What to mind") : found.index("Rows are filled")]


def planted() -> pd.DataFrame:
    """Return a table with dependent columns, a label and amounts of which a third are 0."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=300)
    frame = pd.DataFrame({key: a + 0.3 * rng.normal(size=300) for key in "abcd"})
    paid = np.where(rng.random(300) < 0.3, 0.0, np.exp(rng.normal(size=300))).round(3)
    return frame.assign(ward=np.where(a + rng.normal(size=300) > 0, "east", "west"), paid=paid)


def test_a_report_names_a_column_that_was_permuted_against_the_others():
    right = planted()
    wrong = right.assign(c=np.random.default_rng(1).permutation(right["c"]))
    found = to_mind(flows.fit(wrong, **QUICK), right)
    assert re.search(r"`c` is in [34] of \d associations that differ", found)
    assert "the rows are not exactly those of the training table" in found


def test_a_report_names_money_whose_zeros_were_lost():
    right = planted()
    wrong = right.assign(paid=np.where(right["paid"] == 0, 1.234, right["paid"]))
    found = to_mind(flows.fit(wrong, **QUICK), right)
    assert re.search(
        r"`paid` holds values .*, such as 0, in \d\d% of rows; they count as gaps", found
    )


def test_a_report_names_a_label_whose_numbers_are_wrong():
    right = planted()
    wrong = right.assign(b=right["b"] + 4 * (right["ward"] == "west"))
    found = to_mind(flows.fit(wrong, **QUICK), right)
    assert re.search(r"`b` has the mean \S+ in samples, \S+ in rows where `ward` is west", found)


@pytest.mark.parametrize(
    ("frame", "options"),
    [
        (wards()[:10], {}),
        (wards()[["bmi"]], {}),
        (clinic(), {"target": "visits"}),
        (clinic(), {"target": "state"}),
        (clinic(20), {"target": ["visits", "dose"]}),
        (every_sort(), {}),
        (wards(), {"require": ["share <= age"]}),
    ],
)
def test_reports_of_tables_of_every_sort(frame, options):
    found = page(frame, **options)
    assert {"mind", "columns", "calibration", "strangest", "repeat"} <= {*found.sections}
    assert ("predictions" in found.sections) == ("target" in options)
    assert "nan" not in found.text.lower().split()


def test_many_columns_and_labels_are_folded(monkeypatch):
    monkeypatch.setattr(reports, "CARDS", 3)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(80, 5))).add_prefix("x")
    frame["town"] = [f"town {k % 40}" for k in range(80)]
    found = page(frame, columns={"town": "category"})
    assert "3 more columns" in found.text
    cards = [each for each in found.all("img") if each["alt"].startswith("Histograms")]
    assert len(cards) == 3


def test_columns_may_have_numbers_or_the_names_of_scores_as_names():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({0: rng.normal(size=80), "log_density": rng.normal(50, 10, 80)})
    frame.loc[7, 0] = 9.0
    found = page(frame).text
    assert re.search(r"row 7: log-density -\S+ nat, tail probability \S+ ?; 0 = 9 \(\d", found)
    assert not re.search(r"log_density = -", found)


def test_new_rows_may_lack_all_values_of_a_column():
    frame = wards()
    found = page(frame, frame.assign(bmi=np.nan))
    assert "missing in 120 rows" in found.text
    assert "No row is complete" in found.text


def test_new_rows_that_break_a_constraint_are_named_with_it():
    frame = wards()
    new = frame.assign(age=frame["age"].where(frame.index != 5, 0.0))
    found = page(frame, new, require=["share <= age"]).text
    assert "row 5: impossible under the density, because of share <= age" in found
    mind = found[found.index("What to mind") : found.index("Rows are filled")]
    assert "1 row breaks the constraint 'share <= age'" in mind
    assert mind.index("new rows") < mind.index("breaks the constraint")


def test_targets_without_a_complete_row_have_no_picture_of_held_out_rows():
    frame = clinic()
    gaps = frame.assign(
        age=frame["age"].where(frame.index % 2 == 0), dose=frame["dose"].where(frame.index % 2 == 1)
    )
    found = page(gaps, target="visits")
    assert not [each for each in found.all("img") if "beside the values of the rows" in each["alt"]]


def test_the_command_writes_the_page_whole_or_not_at_all(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wards().to_csv("w.csv", index=False)
    main(["fit", "w.csv", "-o", "w.flow", "--recipe=quick", "--members=5", "-Shidden=8"])
    main(["report", "w.flow", "w.csv", "-o", "w.html"])
    found = Page(Path("w.html").read_text(encoding="utf-8"))
    assert "flows verify w.flow TABLE fits the training table again" in found.text
    with pytest.raises(SystemExit, match=r"w\.pdf: a report goes into a \.html file"):
        main(["report", "w.flow", "w.csv", "-o", "w.pdf"])
    frame = pd.read_csv("w.csv")
    same = Page(flows.load("w.flow").report(frame).html)
    ours, theirs = (  # rows of a file are numbered from 1, those of a frame from 0
        [each["src"] for each in read.all("img") if "memorisation" not in each["alt"]]
        for read in (found, same)
    )
    assert ours == theirs
    first = re.search(r"row (\d+): log-density ([-.\d]+)", found.text)
    python = re.search(r"row (\d+): log-density ([-.\d]+)", same.text)
    assert int(first[1]) == int(python[1]) + 1
    assert first[2] == python[2]
    assert found.text.count("missing in") == 0


def test_a_notebook_shows_a_report_in_a_frame_of_its_own():
    shown = Page(reports.Report("<p>a</p>")._repr_html_())
    assert shown.all("iframe")[0]["srcdoc"] == "<p>a</p>"


def test_a_page_of_30_columns_is_below_two_megabytes():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(200, 30))).add_prefix("column_")
    density = flows.fit(frame, **QUICK)
    assert len(density.report(frame).html.encode()) < 2e6


def test_a_browser_shows_every_part_without_an_error_or_a_scroll_bar(tmp_path):
    browser_path = shutil.which("chromium")
    if browser_path is None:
        pytest.skip("there is no Chromium on this machine")
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    frame = clinic().rename(columns={"dose": HOSTILE, "age": "a_long_name_" * 8})
    density = flows.fit(frame, **QUICK)
    path = tmp_path / "report.html"
    density.report(frame).save(path)
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=browser_path,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        for width, scheme in ((400, "light"), (800, "dark"), (1300, "light")):
            tab = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
            said, asked = watch(tab)
            tab.goto(path.as_uri())
            assert not said
            assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
            sections = tab.locator("section")
            assert sections.count() == 7
            assert all(each.is_visible() for each in sections.all())
            tab.close()
        browser.close()


def watch(tab: Any) -> tuple[list[str], list[str]]:
    """Return the messages and errors of a page, and the addresses that the page asks for."""
    said, asked = list[str](), list[str]()
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    tab.on("request", lambda request: asked.append(request.url))
    return said, asked
