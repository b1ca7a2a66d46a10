"""Runbooks name commands, flags, paths and figures that exist; the list of them is made from the rules."""

import re
from pathlib import Path

import pytest

from k8s.monitoring.expressions import of_rules
from modelyard import COMMANDS
from serving.app import create_app
from serving.repository.model_settings import ModelSettings
from serving.settings import Settings
from tests.monitoring.figures_there_are import recorded, series

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs/runbooks"
ALERTS = [rule.where for rule in of_rules() if rule.kind == "alert"]
PAGES = sorted(FOLDER.glob("Modelyard*.md"))
SECTIONS = ["What it means", "How bad", "Look first", "Likely causes", "Mend", "Over when"]


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """What the service answers, by its own description."""
    return set(create_app(Settings(repository=tmp_path_factory.mktemp("models"))).api.openapi()["paths"])


def test_there_is_a_page_for_every_alert_and_no_other() -> None:
    assert [page.stem for page in PAGES] == sorted(ALERTS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_answers_the_six_questions(page: Path) -> None:
    assert re.findall(r"^## (.+)$", text(page), re.MULTILINE) == SECTIONS
    assert "```" in text(page).split("## Look first")[1].split("## Likely causes")[0], "nothing to look at"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_names_exists(page: Path, paths: set[str]) -> None:
    content = text(page)
    figures = set(re.findall(r"\bmodelyard_[a-z_]+|\bmodelyard:[a-z_]+(?::\w+)?", content))
    bare = {re.sub(r"_(bucket|sum|count)$", "", name) for name in series()}
    assert figures - series().keys() - recorded() - bare == set()
    assert set(re.findall(r"(?:^\$ |`)modelyard ([a-z-]+)", content, re.MULTILINE)) <= COMMANDS.keys()
    asked = {path.replace("NAME", "{name}") for path in re.findall(r"/v[12]/[A-Za-z_/]*[A-Za-z]", content)}
    assert asked <= paths


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_flags_and_keys_that_a_page_tells_to_change_are_settings(page: Path) -> None:
    of_others = re.compile(
        r"(kubectl|nvidia-smi|curl|modelyard (tune|prove|score|evaluate|compare|build-engine))[^`\n]*"
    )
    flags = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", of_others.sub("", text(page))))
    assert {flag.removeprefix("--").replace("-", "_") for flag in flags - {"--max-error-share", "--column"}} <= set(
        Settings.model_fields
    )
    keys = set(re.findall(r"`(\w+)` in `serving\.toml`", text(page)))
    assert keys <= set(ModelSettings.model_fields)


def test_the_list_has_every_alert_and_names_its_severity() -> None:
    listed = re.findall(
        r"^\| \[(\w+)\]\((\w+)\.md\) \| (critical|warning|info) \|", text(FOLDER / "README.md"), re.MULTILINE
    )
    assert [name for name, link, _ in listed if name == link] == ALERTS
