"""The documents say what is there: tests, links, codes, deployments."""

import re
from pathlib import Path

import pytest
import typer.core
import typer.main
import yaml
from configuration_page import page as configuration_page
from kis_page import page as kis_page
from shell_blocks import shell_lines

from trading.cli import app
from trading.domain.decision import Verdict
from trading.risk.guards import GuardCode

CHECKOUT = Path(__file__).parents[2]
PAGES = sorted([*CHECKOUT.glob("README*.md"), *CHECKOUT.glob("docs/**/*.md")])


def test_every_test_named_as_a_guard_exists():
    """A law whose test was renamed or removed is found here."""
    text = (CHECKOUT / "docs" / "invariants.md").read_text("utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)

    missing = [
        f"{path}::{name}"
        for path, name in named
        if not (CHECKOUT / path).is_file()
        or not re.search(
            rf"^\s*(async )?(def {name}\(|{name} = )", (CHECKOUT / path).read_text("utf-8"), re.M
        )
    ]

    assert len(named) > 30
    assert missing == []


def test_every_law_names_a_test():
    """Seventeen laws, each guarded."""
    text = (CHECKOUT / "docs" / "invariants.md").read_text("utf-8")
    laws = re.split(r"^## \d+\. ", text, flags=re.MULTILINE)[1:]

    assert len(laws) == 17
    assert all("::test_" in law for law in laws)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    """A link inside the checkout names a file that is there."""
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text("utf-8"))

    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_index_names_every_page():
    """docs/README.md leads to each page beside it."""
    text = (CHECKOUT / "docs" / "README.md").read_text("utf-8")
    pages = {page.name for page in (CHECKOUT / "docs").glob("*.md")} - {"README.md"}

    assert [name for name in sorted(pages) if f"]({name})" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_a_heading(page):
    """A link into a page names a heading of it, as GitHub writes the names of headings."""
    links = re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", page.read_text("utf-8"))

    missing = [
        f"{target}#{anchor}"
        for target, anchor in links
        if anchor not in _anchors(page.parent / target if target else page)
    ]

    assert missing == []


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tests_named_in_passing_exist(page):
    """A test that a page names without its file is somewhere."""
    named = set(re.findall(r"`(test_\w+)`", page.read_text("utf-8")))
    there = {
        name
        for path in (CHECKOUT / "tests").rglob("test_*.py")
        for name in re.findall(r"def (test_\w+)\(", path.read_text("utf-8"))
    }

    assert named - there == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_are_there(page):
    """Each command and option of a shell block is one that ``trading`` has, each target one of make's."""
    targets = re.findall(r"^([a-z-]+):", (CHECKOUT / "Makefile").read_text("utf-8"), flags=re.M)

    for line in shell_lines(page.read_text("utf-8")):
        program, *words = line.removeprefix(".venv/bin/").split() or [""]
        if program == "make":
            assert words[0] in targets, line
        if program == "trading":
            assert _unknown_words(words) == [], line


def _unknown_words(words: list[str]) -> list[str]:
    """Return the words of a command line of ``trading`` that it does not know."""
    command = typer.main.get_command(app)
    unknown = []
    for word in words:
        if word in getattr(command, "commands", {}):
            command = command.commands[word]
        elif word.startswith("--") and word != "--help":
            unknown += [] if any(word in p.opts for p in command.params) else [word]
        elif isinstance(command, typer.core.TyperGroup):
            unknown += [word] if word != "--help" else []
    return unknown


def test_every_code_is_explained():
    """docs/codes.md has a row for each verdict and each guard."""
    text = (CHECKOUT / "docs" / "codes.md").read_text("utf-8")
    codes = [verdict.name for verdict in Verdict] + [code.value for code in GuardCode]

    assert [code for code in codes if f"| `{code}` |" not in text] == []


def test_the_reference_of_settings_is_the_settings():
    """docs/configuration.md is ``python tests/configuration_page.py``; each key says something."""
    text = (CHECKOUT / "docs" / "configuration.md").read_text("utf-8")

    assert text == configuration_page()
    assert [row for row in text.split("\n") if row.startswith("| `") and row.count("|") < 5] == []


def test_the_calls_of_the_page_are_the_calls():
    """The tables of docs/kis-api.md are ``python tests/kis_page.py``."""
    text = (CHECKOUT / "docs" / "kis-api.md").read_text("utf-8")

    assert kis_page(text) == text


def test_both_readmes_have_the_same_shape():
    """English and Korean tell the same, section by section, with the same commands."""
    english, korean = (
        (CHECKOUT / name).read_text("utf-8") for name in ("README.md", "README.ko.md")
    )

    def shape(text: str) -> tuple[int, int, list[str]]:
        blocks = re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL)
        commands = [re.split(r"\s{2,}#", line)[0] for block in blocks for line in block.split("\n")]
        return text.count("\n## "), text.count("\n| "), commands

    assert shape(english) == shape(korean)


def test_readme_names_every_deployment():
    """What can be started by name is in the README."""
    text = (CHECKOUT / "README.md").read_text("utf-8")
    deployments = yaml.safe_load((CHECKOUT / "prefect.yaml").read_text("utf-8"))["deployments"]

    assert [d["name"] for d in deployments if f"`{d['name']}`" not in text] == []
