"""Write the pages that are made from code and results, or with --check say which of them are stale."""

import json
import sys
from pathlib import Path

from bundle.manifest import schema
from k8s.monitoring.make import PAGES as MONITORING
from loadtests.capacity.figures import CAPACITY_FILE
from loadtests.capacity.page import fill
from serving.settings import Settings, describe
from training.results import table

ROOT = Path(__file__).parent.parent
PAGES = {
    "docs/manifest.schema.json": lambda: json.dumps(schema(), indent=1) + "\n",
    "docs/settings.md": lambda: describe(Settings),
    "docs/results.md": lambda: table(ROOT / "results"),
    "docs/capacity.md": lambda: fill(_read(ROOT / "docs/capacity.md"), ROOT / CAPACITY_FILE),
    **MONITORING,
}


def main() -> int:
    stale = [page for page, make in PAGES.items() if _read(ROOT / page) != make()]
    if "--check" in sys.argv:
        print(f"stale: {', '.join(stale)}; run `make docs`" if stale else "fresh", file=sys.stderr)
        return 1 if stale else 0
    for page in stale:
        (ROOT / page).write_text(PAGES[page](), encoding="utf-8")
        print(f"wrote {page}")
    return 0


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


if __name__ == "__main__":
    sys.exit(main())
