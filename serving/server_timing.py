"""`Server-Timing`: where the time of one answer went, in the header that browsers' developer tools draw.

Knows phases by name. Knows nothing of what happens in them.
"""

from collections.abc import Mapping


def server_timing(phases: Mapping[str, float]) -> str:
    """Seconds by phase as the header's value, in milliseconds: `prepare;dur=1.200, queue;dur=0.031`."""
    return ", ".join([f"{phase};dur={seconds * 1000:.3f}" for phase, seconds in phases.items()])
