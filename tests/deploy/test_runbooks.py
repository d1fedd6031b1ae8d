"""Each alert has a page in docs/runbooks. The pages name existing panels, log lines and paths."""

import re
from pathlib import Path

import pytest

from deploy.build.tools import ROOT
from svgx_common.contract import OPERATIONS
from tests.deploy.monitoring_queries import dashboards, rules

FOLDER = ROOT / "docs" / "runbooks"
PAGES = sorted(set(FOLDER.glob("*.md")) - {FOLDER / "README.md"})
SECTIONS = ["Symptom", "Dashboard", "Commands", "Repair"]

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def section(page: Path, title: str) -> str:
    """Return the text of a section, on one line."""
    _, _, rest = page.read_text(encoding="utf-8").partition(f"## {title}\n")
    return rest.partition("\n## ")[0].replace("\n", " ")


def test_every_alert_has_a_page_and_every_page_an_alert() -> None:
    """An alert's link leads to the page with the alert's name, and the index lists this page. Proves R-OBS-13."""
    pages: dict[str, str] = {}
    for rule in rules():
        if "alert" in rule:
            base, _, page = rule["annotations"]["runbook_url"].rpartition("/")
            assert base == "https://docs.svgx-engine.com/runbooks"
            assert pages.setdefault(rule["alert"], page) == page
    assert sorted(pages.values()) == [page.stem for page in PAGES]
    index = (FOLDER / "README.md").read_text(encoding="utf-8")
    for alert, page in pages.items():
        assert (FOLDER / f"{page}.md").read_text("utf-8").startswith(f"# {alert}\n"), page
        assert f"| [{alert}]({page}.md) |" in index


@each_page
def test_page_has_symptom_dashboard_commands_and_repair(page: Path) -> None:
    """Each section has text, and the commands are a block that tests can extract."""
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS
    assert all(section(page, title).strip() for title in SECTIONS)
    assert re.search(r"## Commands\n```bash\n(.+\n)+```\n", text)


@each_page
def test_dashboard_section_names_existing_panels(page: Path) -> None:
    """Bold words are titles of dashboards, and quoted words are titles of panels and rows."""
    text = section(page, "Dashboard")
    titles = {each["title"] for each in dashboards().values()}
    named = set(re.findall(r"\*\*(.+?)\*\*", text))
    assert named
    assert named <= titles
    panels = {panel["title"] for each in dashboards().values() for panel in each["panels"]}
    assert set(re.findall(r'"(.+?)"', text)) <= panels


@each_page
def test_commands_search_for_existing_log_lines(page: Path) -> None:
    """The code contains each phrase that a command searches for in a log."""
    phrases = re.findall(r"grep(?: -e)? '([^']+)'|-e '([^']+)'", section(page, "Commands"))
    code = "".join(
        path.read_text(encoding="utf-8")
        for folder in ("libs", "services")
        for path in (ROOT / folder).rglob("src/**/*.py")
    )
    assert [each for pair in phrases for each in pair if each and each not in code] == []


@each_page
def test_commands_read_the_whole_log_for_lines_that_an_outage_writes_once(page: Path) -> None:
    """Only lines about single requests and canvases are searched in a recent part of the log."""
    recurring = "request failed|another replica holds|json clients load|element event|nats error"
    commands = page.read_text(encoding="utf-8").partition("```bash\n")[2].partition("```")[0]
    searches = [line for line in commands.splitlines() if " logs " in line and "grep" in line]
    recent = [line for line in searches if "--since" in line]
    assert [line for line in recent if not re.search(recurring, line)] == []
    # With a selector, kubectl shows only the last ten lines of each pod by default.
    assert [line for line in searches if " -l " in line and "--tail=-1" not in line] == []


@each_page
def test_paths_of_the_api_exist(page: Path) -> None:
    """Each method and path in the commands and in the text belongs to an operation."""
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"`(GET|PUT|POST|DELETE) (/[^` ?]+)", text)
    found += [("GET", path) for path in re.findall(r"http://localhost:8000(/[^' ?\n]+)", text)]
    existing = {(each.http.method, each.http.path) for each in OPERATIONS if each.http is not None}
    assert set(found) - existing == set()
