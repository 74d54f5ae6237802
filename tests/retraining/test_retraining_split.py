"""The frozen split: nobody is ever moved, and two studies of one person are never in two parts."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections import Counter
from itertools import permutations
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st

from covid_bert.errors import BusyError, CovidBertError, OutputError, ParameterError, UnreadableFileError
from covid_bert.retraining import split as split_module
from covid_bert.retraining.cases import Part
from covid_bert.retraining.persons import MOST_JOINED, PRECEDENCE
from covid_bert.retraining.split import SPLIT_NAME, FrozenSplit, Place, Shares

# A study is (number of its image, what clients said of its patient, identifiers in its files).
Study = tuple[int, tuple[str, ...], tuple[str, ...]]
names = st.lists(st.sampled_from("abcdefgh"), max_size=2, unique=True).map(tuple)
studies = st.lists(st.tuples(st.integers(0, 30), names, names), max_size=12)
shares = st.sampled_from([Shares(), Shares(training=0.05, validation=0.9), Shares(training=0.9, validation=0.05)])


def keys_of(split: FrozenSplit, study: Study) -> list[str]:
    image, said, files = study
    return [
        split.key("image", str(image)),
        *(split.key("patient", name) for name in said),
        *(split.key("dicom", name) for name in files),
    ]


def places(path: Path, batch: list[Study]) -> list[Place]:
    split = FrozenSplit(path)
    return split.assign([keys_of(split, study) for study in batch])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(studies, shares), max_size=5), st.randoms())
def test_what_was_learned_from_never_judges(steps: list[tuple[list[Study], Shares]], random) -> None:
    """Studies arrive, patients are named later, shares change, and everything is asked for in any order."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / SPLIT_NAME
        used: dict[int, Part] = {}
        seen: list[Study] = []
        for batch, changed in steps:
            seen += batch
            random.shuffle(seen)
            found = places(path, seen)
            people: dict[str, Place] = {}
            for (image, said, files), place in zip(seen, found, strict=True):
                names = [f"image {image}"]
                names += [f"said {one}" for one in said if "patient" not in place.doubtful]
                names += [f"files {one}" for one in files if "dicom" not in place.doubtful]
                for name in names:
                    one = people.setdefault(name, place)
                    assert (one.part, one.patient) == (place.part, place.patient), "one person in two parts"
                before = used.setdefault(image, place.part)
                assert PRECEDENCE.index(place.part) <= PRECEDENCE.index(before), "what was learned from judges"
                used[image] = place.part
            FrozenSplit(path).change_shares(changed)


@settings(max_examples=60, deadline=None)
@given(studies, st.randoms())
def test_the_order_of_the_studies_does_not_matter(batch: list[Study], random) -> None:
    with TemporaryDirectory() as folder:
        path, other = Path(folder) / SPLIT_NAME, Path(folder) / "other" / SPLIT_NAME
        FrozenSplit(path)
        other.parent.mkdir()
        other.write_bytes(path.read_bytes())
        shuffled = random.sample(batch, len(batch))
        first = dict(zip(batch, places(path, batch), strict=True))
        assert first == dict(zip(shuffled, places(other, shuffled), strict=True))


def test_the_shares_are_those_of_the_patients(tmp_path: Path) -> None:
    found = places(tmp_path / SPLIT_NAME, [(number, (), ()) for number in range(3000)])
    counts = FrozenSplit(tmp_path / SPLIT_NAME).counts()
    assert counts == {part: sum(place.part is part for place in found) for part in Part}
    assert 0.55 < counts[Part.TRAINING] / 3000 < 0.65
    assert 0.16 < counts[Part.VALIDATION] / 3000 < 0.24
    assert len({place.patient for place in found}) == 3000


def test_each_folder_draws_its_own_split(tmp_path: Path) -> None:
    batch: list[Study] = [(number, (), ()) for number in range(200)]
    first, second = (places(tmp_path / name / SPLIT_NAME, batch) for name in ("a", "b"))
    assert [place.part for place in first] != [place.part for place in second]
    assert FrozenSplit(tmp_path / "a" / SPLIT_NAME).identity != FrozenSplit(tmp_path / "b" / SPLIT_NAME).identity


@pytest.mark.parametrize("order", permutations(Part, 2))
def test_persons_who_turn_out_to_be_one_never_judge_what_was_learned(tmp_path: Path, order) -> None:
    path = tmp_path / SPLIT_NAME
    found = places(path, [(number, (), ()) for number in range(60)])
    one, other = (next(number for number in range(60) if found[number].part is part) for part in order)
    joined = places(path, [(one, ("p",), ()), (other, ("p",), ()), (100, ("p",), ())])
    expected = Part.TRAINING if Part.TRAINING in order else Part.VALIDATION
    assert {place.part for place in joined} == {expected}
    assert len({place.patient for place in joined}) == 1
    assert places(path, [(one, (), ()), (other, (), ())]) == joined[:2], "also without the patient"
    rest = [number for number in range(60) if number not in (one, other)]
    assert places(path, [(number, (), ()) for number in rest]) == [found[number] for number in rest]


def test_a_file_of_before_lets_nobody_judge_of_whom_something_was_set_aside(tmp_path: Path) -> None:
    path = tmp_path / SPLIT_NAME
    split = FrozenSplit(path)
    content = json.loads(path.read_text())
    del content["doubtful"]
    first, second, third = (split.key("image", str(number)) for number in (1, 2, 3))
    content["persons"] = [
        {"part": "test", "keys": [first, second], "withdrawn": [second]},
        {"part": "test", "keys": [third], "withdrawn": []},
    ]
    path.write_text(json.dumps(content))
    found = FrozenSplit(path).assign([[first], [second], [third]])
    assert [place.part for place in found] == [Part.TRAINING, Part.TRAINING, Part.TEST]


@pytest.mark.parametrize("kind", ["patient", "dicom"])
@pytest.mark.parametrize("at_once", [True, False])
def test_a_value_that_many_have_joins_them_no_more(tmp_path: Path, kind: str, at_once: bool) -> None:
    path = tmp_path / SPLIT_NAME
    of_one = ("x",)
    batch: list[Study] = [
        (number, of_one if kind == "patient" else (), of_one if kind == "dicom" else ()) for number in range(60)
    ]
    if not at_once:
        for count in range(1, 60):
            places(path, batch[:count])
    found = places(path, batch)
    assert {place.doubtful for place in found} == {(kind,)}
    persons = Counter(place.patient for place in found)
    assert max(persons.values()) == (1 if at_once else MOST_JOINED), "joined before it was known to be doubtful"
    assert {place.part for place in found} == set(Part), "and each is drawn by itself"
    assert places(path, batch[:3]) == found[:3], "also where few are asked for"


def test_a_person_may_have_some_studies(tmp_path: Path) -> None:
    batch: list[Study] = [(number, ("p",), ()) for number in range(MOST_JOINED)]
    # Of one identifier, these count once for the patient.
    batch += [(number, ("q",), (f"{number % 4}",)) for number in range(100, 100 + 4 * MOST_JOINED)]
    found = places(tmp_path / SPLIT_NAME, batch)
    assert not any(place.doubtful for place in found)
    assert len({place.patient for place in found}) == 2


def test_two_values_that_many_have_do_not_vouch_for_each_other(tmp_path: Path) -> None:
    found = places(tmp_path / SPLIT_NAME, [(number, ("covid",), ("covid",)) for number in range(MOST_JOINED + 1)])
    assert {place.doubtful for place in found} == {("patient", "dicom")}
    assert len({place.patient for place in found}) == MOST_JOINED + 1


def test_wishes_count_for_those_who_are_new_only(tmp_path: Path) -> None:
    split = FrozenSplit(tmp_path / SPLIT_NAME)
    known = split.assign([keys_of(split, (0, (), ()))])[0]
    other = next(part for part in Part if part is not known.part)
    batch = [keys_of(split, (number, (), ())) for number in range(20)]
    found = split.assign(batch, [other] * 20)
    assert [place.part for place in found] == [known.part, *[other] * 19]
    assert split.assign(batch) == found
    with_two = [keys_of(split, (number, ("twice",), ())) for number in (30, 31)]
    for wished in ([Part.TEST, Part.TRAINING], [Part.TRAINING, Part.TEST]):
        assert {place.part for place in split.assign(with_two, wished)} == {Part.TRAINING}


def test_nothing_in_the_file_names_anybody(tmp_path: Path) -> None:
    places(tmp_path / SPLIT_NAME, [(1, ("MUSTERMANN",), ("MUSTERMANN-4711",))])
    text = (tmp_path / SPLIT_NAME).read_text()
    assert "MUSTER" not in text
    assert "4711" not in text
    if os.name != "nt":
        assert (tmp_path / SPLIT_NAME).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("damage", [b"", b"{}", b"[1", b'{"schema_version": 2}', b"\xff\xfe"])
def test_a_damaged_split_is_never_drawn_anew(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / SPLIT_NAME
    split = FrozenSplit(path)
    path.write_bytes(damage)
    with pytest.raises(UnreadableFileError, match="back-up"):
        FrozenSplit(path)
    with pytest.raises(UnreadableFileError):
        split.assign([[split.key("image", "1")]])
    assert path.read_bytes() == damage


def test_shares_must_leave_something_for_the_test(tmp_path: Path) -> None:
    split = FrozenSplit(tmp_path / SPLIT_NAME)
    before = split.identity
    with pytest.raises(ParameterError):
        split.change_shares(Shares(training=0.8, validation=0.2))
    split.change_shares(Shares(training=0.5, validation=0.25))
    assert split.identity != before
    assert FrozenSplit(tmp_path / SPLIT_NAME).identity == split.identity


def test_a_full_disk_leaves_the_split_as_it_was(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / SPLIT_NAME
    split = FrozenSplit(path)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(split_module, "write_private", full)
    with pytest.raises(OutputError, match="No space"):
        split.assign([[split.key("image", "1")]])
    assert path.read_bytes() == before


def test_a_lock_keeps_a_second_writer_waiting(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / SPLIT_NAME
    split = FrozenSplit(path)
    monkeypatch.setattr(split_module, "_LOCK_SECONDS", 0.1)
    with FileLock(tmp_path / ".split.lock"), pytest.raises(BusyError):
        split.assign([[split.key("image", "1")]])
    assert json.loads(path.read_text())["persons"] == []


def _write(path: str, first: int, failures) -> None:
    try:
        for number in range(first, first + 20):
            places(Path(path), [(number, (), ())])
    except CovidBertError as error:
        failures.put(str(error))


def test_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    failures = context.Queue()
    path = tmp_path / SPLIT_NAME
    writers = [context.Process(target=_write, args=(str(path), first, failures)) for first in (0, 100, 10)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(300)
        assert writer.exitcode == 0
    assert failures.empty()
    assert len(json.loads(path.read_text())["persons"]) == 50
