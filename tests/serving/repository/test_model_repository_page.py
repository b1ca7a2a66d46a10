"""The page about the repository says what there is."""

import re
import tomllib
from pathlib import Path

from serving.repository.model_settings import ModelSettings
from serving.settings import Settings
from tests.serving.running import ROOT

PAGE = (Path(ROOT) / "docs/operations/model-repository.md").read_text(encoding="utf-8")


def test_the_table_of_settings_is_that_of_the_code() -> None:
    section = PAGE.partition("## How one model is served")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == set(ModelSettings.model_fields)


def test_the_settings_of_the_example_are_allowed() -> None:
    block = re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert block
    assert ModelSettings.model_validate(tomllib.loads(block[1])).canary is not None


def test_flags_are_named_with_their_defaults() -> None:
    told = dict(re.findall(r"`--((?:poll|golden)-[a-z-]+)`[^(]{0,10}\(([\d.]+)", PAGE))
    for flag in ("golden-every-s", "golden-limit-s", "golden-failures-to-die"):
        assert float(told[flag]) == Settings.model_fields[flag.replace("-", "_")].default
    assert f"every `--poll-s` seconds ({Settings.model_fields['poll_s'].default:g};" in PAGE
