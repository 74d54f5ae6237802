"""A router as a process of its own, with fake computing: `python router_process.py CONFIGURATION MARKS TEMPLATE`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))


def main() -> None:
    from fake_computing import FakeComputing

    from covid_bert import logs
    from covid_bert.router.configuration import load
    from covid_bert.router.routing import Router

    settings = load(Path(sys.argv[1]))
    logs.configure(settings.log_format)
    os.umask(0o077)
    router = Router(settings, FakeComputing(Path(sys.argv[2]), Path(sys.argv[3])))
    signal.signal(signal.SIGTERM, lambda *_: router.stop())
    print("ready", flush=True)
    router.run()


if __name__ == "__main__":
    main()
