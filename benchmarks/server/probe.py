"""Ask a server for a path every so often, from a process of its own, until the standard input ends.

    python benchmarks/server/probe.py URL

At the end the seconds of each answer are printed as JSON. An answer that does not come counts with its time limit.
"""

from __future__ import annotations

import json
import sys
import threading
import time
import urllib.error
import urllib.request

INTERVAL_SECONDS = 0.02
LIMIT_SECONDS = 600.0


def main() -> None:
    ended = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    seconds = []
    while not ended.is_set():
        start = time.perf_counter()
        try:
            with opener.open(sys.argv[1], timeout=LIMIT_SECONDS) as answer:
                answer.read()
            seconds.append(time.perf_counter() - start)
        except (urllib.error.URLError, OSError):
            seconds.append(LIMIT_SECONDS)
        ended.wait(INTERVAL_SECONDS)
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
