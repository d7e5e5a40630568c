"""The documents say what is there: tests, links, codes, deployments."""

import re
from pathlib import Path

import pytest
import yaml

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
        or f"def {name}(" not in (CHECKOUT / path).read_text("utf-8")
    ]

    assert len(named) > 30
    assert missing == []


def test_every_law_names_a_test():
    """Eleven laws, each guarded."""
    text = (CHECKOUT / "docs" / "invariants.md").read_text("utf-8")
    laws = re.split(r"^## \d+\. ", text, flags=re.MULTILINE)[1:]

    assert len(laws) == 11
    assert all("::test_" in law for law in laws)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    """A link inside the checkout names a file that is there."""
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text("utf-8"))

    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_code_is_explained():
    """docs/codes.md has a row for each verdict and each guard."""
    text = (CHECKOUT / "docs" / "codes.md").read_text("utf-8")
    codes = [verdict.name for verdict in Verdict] + [code.value for code in GuardCode]

    assert [code for code in codes if f"| `{code}` |" not in text] == []


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
