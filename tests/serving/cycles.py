"""Load, ask and unload a model again and again in a fresh process: `python -m tests.serving.cycles FOLDER N`.

Prints as JSON the resident bytes: before the first load, with the model in memory, and after each unload.
"""

import asyncio
import json
import os
import sys
from pathlib import Path

from tests.builders import png
from tests.serving.repositories import TASK, ask, kept

NAME = "heavy"


def resident_bytes() -> int:
    """Memory of this process, now."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGESIZE")


async def cycles(folder: Path, number: int) -> dict[str, object]:
    """Go through the cycles."""
    async with kept(folder) as here:
        await here.models.unload(NAME)
        empty = resident_bytes()
        loaded, unloaded = [], []
        for _ in range(number):
            await here.models.load(NAME)
            served = here.models.find(TASK, NAME, None)
            await asyncio.gather(*(ask(served, png(seed=seed)) for seed in range(16)))
            loaded.append(resident_bytes())
            del served
            await here.models.unload(NAME)
            unloaded.append(resident_bytes())
    return {"empty": empty, "loaded": loaded, "unloaded": unloaded}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(cycles(Path(sys.argv[1]), int(sys.argv[2])))))
