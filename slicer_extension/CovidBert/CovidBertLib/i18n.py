"""The user's language: ``tr`` as that of ``slicer.i18n``, as quick in every version of 3D Slicer.

Before 3D Slicer 5.8 its own reads the sources of all callers at each call, some 100 ms. A panel asks for hundreds.
"""

from __future__ import annotations

import re
import sys

from slicer.i18n import getContext, translate

_FIELD = re.compile(r"(?<!\{)\{([^{}]+)\}(?!\})")
_CONTEXTS: dict[str, str] = {}


def tr(text: str) -> str:
    """Return a text in the user's language, or as it is where there is no translation that fits.

    Parameters
    ----------
    text
        In English. The fields in braces have to come back from the translation.
    """
    name = sys._getframe(1).f_code.co_filename
    context = _CONTEXTS.get(name)
    if context is None:
        context = _CONTEXTS[name] = getContext(name)
    translated = str(translate(context, text))
    # A field that a translator has renamed would be an error where it is filled in.
    return translated if set(_FIELD.findall(translated)) == set(_FIELD.findall(text)) else text
