"""Load and truth: drive a running service, measure it, and check its answers against the bundle's own.

Knows HTTP and bundles. Imported by nothing.
"""
