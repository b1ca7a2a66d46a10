"""Write the repository that clients are tested against: `python tests/clients/make_repository.py FOLDER`.

Runs in the project's environment. Prints an admin key and its line for the server, or two empty lines where the
service knows no keys.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

from tests.builders import write_fake_bundle
from tests.serving.embedder import write_fake_embedder
from tests.serving.oip.manifests import write_fake_series


def main(folder: Path) -> None:
    """One model of every medium, and a broken one."""
    write_fake_bundle(folder, "pictures")
    write_fake_series(folder, "beats")
    write_fake_embedder(folder, "embedder")
    if find_spec("serving.security.keys") is None:
        print("\n")
        return
    from serving.security.keys import make_key

    made = make_key("clients")
    print(f"{made.key}\n{made.line}")


main(Path(sys.argv[1]))
