"""A program that starts a training again and again and ends it with `kill -9` at random moments, then lets it finish.

It has loaded what it needs before it forks, and has computed nothing: so a start takes no time.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import small_learner
import torch


def state_of(path: Path) -> int | None:
    return path.stat().st_mtime_ns if path.exists() else None


def main(checkpoint: str, result: str, kills: int) -> None:
    torch.set_num_threads(1)
    path, chance, done = Path(checkpoint), random.Random(), 0
    while not Path(result).exists():
        before = state_of(path)
        child = os.fork()
        if child == 0:
            small_learner.main(checkpoint, result)
            os._exit(0)
        ended = 0
        # Each life gets at least to its next checkpoint, or the run would never end; then a random while.
        while done < kills and not ended and state_of(path) == before:
            ended, _ = os.waitpid(child, os.WNOHANG)
            time.sleep(0.001)
        if done < kills and not ended:
            time.sleep(chance.uniform(0.0, 0.1))
            os.kill(child, signal.SIGKILL)
            done += 1
        if not ended:
            os.waitpid(child, 0)
    print(done)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
