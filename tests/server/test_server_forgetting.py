"""The server's timer removes what nobody needs any more: at its start, when something has ended, and in between."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_jobs import await_that

from covid_bert.retraining.derived import label_cache, marked
from covid_bert.server import forgetting as forgetting_module
from covid_bert.server.forgetting import Forgetting


def left_over(studies: Path) -> Path:
    """A mask of a study that is gone."""
    mask = label_cache(studies) / "consensus" / marked(studies / "gone.nii.gz", "mask.nii.gz")
    mask.parent.mkdir(parents=True, exist_ok=True)
    mask.write_bytes(b"mask of a patient")
    return mask


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    (tmp_path / "study.nii.gz").touch()
    return tmp_path


@pytest.mark.parametrize("tell", [lambda _: None, Forgetting.soon])
def test_what_nobody_needs_goes_at_the_start_and_later(studies: Path, tell: Callable[[Forgetting], None]) -> None:
    by_timer = tell is not Forgetting.soon
    first = left_over(studies)
    forgetting = Forgetting(studies, seconds=0.05 if by_timer else 3600.0)
    assert first.exists()
    forgetting.start()
    await_that(lambda: not first.exists())
    second = left_over(studies)
    tell(forgetting)
    await_that(lambda: not second.exists())
    forgetting.close()
    third = left_over(studies)
    assert not forgetting._thread.is_alive()
    assert third.exists()


def test_one_failure_does_not_end_it(studies: Path, monkeypatch, caplog) -> None:
    calls: list[Path] = []
    twice = threading.Event()

    def fail(folder: Path) -> None:
        calls.append(folder)
        if len(calls) >= 2:
            twice.set()
        raise RuntimeError("study-of-miller")

    monkeypatch.setattr(forgetting_module, "forget", fail)
    forgetting = Forgetting(studies, seconds=0.01)
    forgetting.start()
    assert twice.wait(120)
    forgetting.close()
    assert "could not be removed" in caplog.text
    assert "miller" not in caplog.text


def test_a_server_that_never_began_can_be_closed(studies: Path) -> None:
    Forgetting(studies).close()
