"""Texts in the user's language."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from CovidBertLib import i18n, problems, task
from CovidBertLib.client import errors
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


def test_failure_is_told_in_the_users_language_where_there_is_a_translation(asked: list[tuple[str, str]]) -> None:
    assert problems.in_users_language("busy", "The queue holds 8 jobs.", "Wait.") == (
        "THE SERVER TAKES NO MORE JUST NOW.",
        "TRY AGAIN LATER.",
    )
    assert any(context.endswith("problems") and text == "Try again later." for context, text in asked)
    assert problems.in_users_language("new-code", "Said.", "Do.") == ("Said.", "Do.")


def test_failure_is_told_as_the_server_says_it_where_there_is_none() -> None:
    said = ("The queue holds 8 jobs.", "Wait.")
    assert problems.in_users_language("busy", *said) == said


def test_worker_is_heard_in_the_users_language(asked: list[tuple[str, str]]) -> None:
    event = {"code": "gone", "message": "m", "hint": "h", "request_id": "r1", "retry_after": None, "kept": {}}
    failure = task._failure(event)
    assert (failure.message, failure.hint, failure.request_id) == (
        "THE SERVER NO LONGER HAS THIS.",
        "START AGAIN.",
        "r1",
    )


@pytest.mark.parametrize("code", sorted(errors.ClientError.__subclasses__(), key=repr), ids=lambda kind: kind.__name__)
def test_codes_of_the_client_have_words(code: type[errors.ClientError]) -> None:
    asked_by_the_program = {"bad-request", "cancelled", "local-file", "bad-order"}
    assert (problems.words_of(code.default_code) is None) == (code.default_code in asked_by_the_program)


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
