"""A whole server whose trainings are those of `fake_training`: ``training_server.py STUDIES PORT TOKENS``."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

from fake_training import make_fake

if __name__ == "__main__":
    import uvicorn

    from covid_bert.server.configuration import load
    from covid_bert.server.launch import prepare, uvicorn_options
    from covid_bert.server.tokens import LiveTokens, TokenFile

    studies, port, tokens = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    configuration = load({"studies": studies, "port": port, "tokens_file": tokens}, environment={})
    prepare(configuration)

    from covid_bert.server.application import create

    application = create(configuration, LiveTokens(TokenFile(tokens)), train_with=functools.partial(make_fake, studies))
    uvicorn.run(application, **uvicorn_options(configuration))
