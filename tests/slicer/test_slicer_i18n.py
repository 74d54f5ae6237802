"""Texts in the user's language."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from CovidBertLib import i18n
from CovidBertLib.panel.stages import stage_text
from needed import REPOSITORY

LIBRARY = REPOSITORY / "slicer_extension" / "CovidBert" / "CovidBertLib"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What the application was asked to translate; it turns all letters into capitals, fields as well."""
    found: list[tuple[str, str]] = []

    def translate(context: str, text: str) -> str:
        found.append((context, text))
        return text.upper()

    monkeypatch.setattr(i18n, "translate", translate)
    return found


def test_texts_are_translated_in_the_context_of_their_file(asked: list[tuple[str, str]]) -> None:
    assert stage_text("saving") == "SAVING"
    assert ("panel.stages", "Saving") in asked


def test_context_is_found_once_for_each_file(asked: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def context(name: str) -> str:
        calls.append(name)
        return "here"

    monkeypatch.setattr(i18n, "_CONTEXTS", {})
    monkeypatch.setattr(i18n, "getContext", context)
    assert [i18n.tr("one"), i18n.tr("two")] == ["ONE", "TWO"]
    assert calls == [__file__]
    assert asked == [("here", "one"), ("here", "two")]


def test_translation_that_renames_a_field_is_left_out(asked: list[tuple[str, str]]) -> None:
    assert i18n.tr("{count} files") == "{count} files"
    assert i18n.tr("{{count}} files") == "{{COUNT}} FILES"


@pytest.mark.parametrize("path", sorted(LIBRARY.rglob("*.py")), ids=lambda path: path.name)
def test_no_file_asks_the_slow_way(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "slicer.i18n":
            assert "tr" not in [name.name for name in node.names], f"{path.name}: use CovidBertLib.i18n"
