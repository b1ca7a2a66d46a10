"""Bundles on their way from where they are kept (an object store, a registry, a disk) to a model repository.

Knows bundles, stores and registries. Knows nothing of engines, of serving, or of how a bundle is made.
"""
