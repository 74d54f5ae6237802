"""Telling one state of the program from another: what other code has made is made again."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import ModuleType


def digest_of_code(*modules: ModuleType) -> str:
    """Return the SHA-256 of the code of some modules; of a package, of all modules in its own folder."""
    digest = hashlib.sha256()
    for module in modules:
        assert module.__file__ is not None, "built in"
        path = Path(module.__file__)
        for file in sorted(path.parent.glob("*.py")) if hasattr(module, "__path__") else [path]:
            digest.update(file.read_bytes())
    return digest.hexdigest()
