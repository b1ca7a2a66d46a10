"""A bundle published once more: under another name, or as the next version of its own. Knows the store only."""

import shutil
from pathlib import Path

from bundle.store import commit, open_bundle, staging


def publish_again(bundle: Path, repository: Path, name: str) -> Path:
    """Copy a bundle as the next version of `name`, with a manifest and a digest of its own; returns its folder.

    Raises:
        BundleError: the bundle cannot be trusted, or the name cannot be a model's.
    """
    manifest = open_bundle(bundle).manifest
    with staging(repository, name) as folder:
        shutil.copytree(bundle, folder, dirs_exist_ok=True)
        return commit(folder, repository, manifest.model_copy(update={"name": name}))
