"""Faults on purpose, on real processes; docs/operations/faults.md says what is to happen."""
