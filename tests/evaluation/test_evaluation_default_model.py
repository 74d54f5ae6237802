"""The whole measurement on made-up sets, and what follows from it."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from PIL import Image
from small_sets import SHAPE, lesion_labels, lung_labels
from typer.testing import CliRunner

from covid_bert import cli
from covid_bert.errors import CovidBertError, InputError, NotFoundError, OutputError
from covid_bert.evaluation import default_model, summary
from covid_bert.evaluation.default_model import installed_systems, measure
from covid_bert.evaluation.pictures import spread_slices, wrong_slices, wrong_title
from covid_bert.evaluation.results import ClassificationRow, LesionRow, LungRow, Measurement, SliceRow, StudyRow
from covid_bert.evaluation.source_tests import source_tests
from covid_bert.evaluation.studies import Condition, ExternalStudy, StudyFacts
from covid_bert.lesions import LesionMask
from covid_bert.lungs import LungMask
from covid_bert.systems import SYSTEMS
from covid_bert.volumes import read


def study(name: str, condition: Condition, **fields) -> StudyRow:
    facts = {"source": name[0], "patient": name, "condition_stated": True, "remark": ""}
    facts |= {"training_source": False, "redistributable": False}
    return StudyRow(name=name, condition=condition, **(facts | fields))


def said(score: float, probability: float | None = None, blanked: float | None = None) -> list[ClassificationRow]:
    return [
        ClassificationRow(
            system="s2",
            configuration="small",
            score=score,
            probability=probability,
            threshold=0.5,
            blanked_score=blanked,
        )
    ]


def test_every_study_has_a_row_and_a_damaged_one_its_sentence(measured) -> None:
    output, measurement, told = measured
    names = [row.name for row in measurement.studies]
    assert names[:4] == ["P001", "cap001", "normal001", "medseg_case1"]
    assert [name for name, _, _ in told] == names
    by_name = {row.name: row for row in measurement.studies}
    assert "cap001_ct.nii.gz" in by_name["cap001"].error
    assert by_name["cap001"].condition is Condition.PNEUMONIA
    assert by_name["P001"].error is None
    assert by_name["P001"].lesions.slices.auc.value == 1.0
    assert by_name["medseg_case4"].lesions.dice > 0.95
    assert {item.name for item in measurement.not_measured} >= {"zenodo20_2d", "sample data: chest_cta"}
    written = json.loads((output / "measurement.json").read_text())
    assert Measurement.model_validate(written) == measurement
    assert written["research_use_only"]


def test_pictures_are_drawn_for_every_study_that_was_measured(measured) -> None:
    output, measurement, _ = measured
    for row in measurement.studies:
        assert bool(row.pictures) == (row.error is None)
        for name in row.pictures:
            assert np.asarray(Image.open(output / "pictures" / name)).std() > 20


def test_findings_count_patients_and_leave_training_sources_out(measured) -> None:
    measurement = measured[1]
    dice = measurement.finding("lesion_dice")
    assert (dice.studies, dice.estimate.count) == (4, 3)
    assert measurement.finding("lung_dice_training").estimate.count == 2
    assert measurement.finding("slice_auc").studies == 2
    assert measurement.finding("share_auc").estimate.value == 1.0
    assert measurement.finding("no such key") is None


def test_targets_follow_the_numbers() -> None:
    def reached(dice: float, normal: float) -> dict[str, bool | None]:
        rows = [
            study("ill", Condition.COVID_19, lesions=LesionRow(share=0.10, dice=dice)),
            study("lung ill", Condition.PNEUMONIA, lesions=LesionRow(share=0.05)),
            study("well", Condition.NO_PNEUMONIA, lesions=LesionRow(share=normal)),
            study("tumour", Condition.LUNG_TUMOUR, lesions=LesionRow(share=0.3)),
        ]
        return {item.key: item.reached for item in summary.targets(rows, summary.findings(rows))}

    good, bad = reached(0.8, 0.01), reached(0.7, 0.06)
    assert (good["lesion_dice"], bad["lesion_dice"]) == (True, False)
    assert (good["normals_below_infected"], bad["normals_below_infected"]) == (True, False)
    assert good["slice_auc_P001"] is None
    assert {item.reached for item in summary.targets([], [])} == {None}


def test_normals_of_training_sources_do_not_speak_for_external_ones() -> None:
    rows = [
        study("ill", Condition.COVID_19, lesions=LesionRow(share=0.05)),
        study("well", Condition.NO_PNEUMONIA, lesions=LesionRow(share=0.01)),
        study("seen", Condition.NO_PNEUMONIA, lesions=LesionRow(share=0.08), training_source=True),
    ]
    found = {item.key: item for item in summary.targets(rows, summary.findings(rows))}
    external, both = found["normals_below_infected_external"], found["normals_below_infected"]
    assert (external.reached, both.reached) == (True, False)
    assert external.statement.endswith("external studies (1 without pneumonia, 1 infected)")
    assert both.statement.endswith("all studies (2 without pneumonia, 1 infected)")


@pytest.mark.parametrize(("by_network", "reached"), [(0.99, True), (0.97, True), (0.9, False)])
def test_lungs_must_keep_as_much_lesion_as_those_by_morphology(by_network: float, reached: bool) -> None:
    lungs = [
        LungRow(method="unet", default=True, lesions_kept=by_network),
        LungRow(method="morphological", default=False, lesions_kept=0.97),
    ]
    rows = [study("ill", Condition.COVID_19, lungs=lungs)]
    made = summary.findings(rows)
    (target,) = [item for item in summary.targets(rows, made) if item.key == "lesions_kept"]
    assert (target.value, target.aim, target.reached) == (by_network, 0.97, reached)
    assert {item.key: item.estimate.value for item in made}["lesions_kept_morphological"] == 0.97


def test_a_system_is_judged_by_one_study_of_each_patient() -> None:
    rows = [
        study("ill", Condition.COVID_19, classifications=said(0.9, 0.8, 0.2)),
        study("ill again", Condition.COVID_19, patient="ill", classifications=said(0.2, 0.1, 0.4)),
        study("other", Condition.COVID_19, classifications=said(0.3, 0.4, 0.35)),
        study("well", Condition.NO_PNEUMONIA, classifications=said(0.1, 0.2)),
        study("mass", Condition.LUNG_TUMOUR, classifications=said(0.99, 0.99)),
    ]
    found = {item.key: item for item in summary.findings(rows)}
    assert found["s2_small_sensitivity_external"].estimate.value == 0.5
    assert found["s2_small_sensitivity_external"].estimate.count == 2
    assert found["s2_small_specificity_external"].estimate.value == 1.0
    assert found["s2_small_blanked_fell"].estimate.value == 0.5
    assert found["s2_small_auc_external"].estimate.value == 1.0
    assert found["s2_small_auc_external"].studies == 4


def test_training_lungs_do_not_speak_for_a_system_and_pneumonia_counts() -> None:
    rows = [
        study("ill", Condition.COVID_19, classifications=said(0.6, 0.6)),
        study("well", Condition.NO_PNEUMONIA, classifications=said(0.7, 0.7)),
        study("lung ill", Condition.PNEUMONIA, classifications=said(0.5, 0.4)),
        study("seen", Condition.NO_PNEUMONIA, classifications=said(0.1, 0.1), training_source=True),
    ]
    found = {item.key: item for item in summary.findings(rows)}
    values = {key.removeprefix("s2_small_"): item.estimate.value for key, item in found.items()}
    assert values["auc_external"] == 0
    assert values["auc_all"] == 0.5
    assert values["auc_or_pneumonia_external"] == 0.5
    assert values["auc_or_pneumonia_all"] == pytest.approx(2 / 3)
    assert (values["specificity_external"], values["specificity_all"]) == (0, 0.5)
    assert values["specificity_or_pneumonia_external"] == 0.5
    assert found["s2_small_auc_or_pneumonia_external"].statement.endswith(
        "COVID-19 against pneumonia or none, external studies"
    )


def test_pooled_slices_need_both_classes() -> None:
    slices = SliceRow(
        count=3, infected=0, flagged=0, flag_share=0.01, auc=None, share_auc=None, density_auc=None,
        sensitivity=None, specificity=None, labels=[False] * 4,
    )  # fmt: skip
    lesions = LesionRow(share=0.0, area_by_slice=[0.0, 0.0, None, 0.0], slices=slices)
    rows = [study("well", Condition.NO_PNEUMONIA, lesions=lesions, spacing_mm=[5.0, 1.0, 1.0])]
    assert "slice_auc" not in {item.key for item in summary.findings(rows)}
    ill = lesions.model_copy(
        update={"slices": slices.model_copy(update={"labels": [True] * 4}), "area_by_slice": [0.2, 0.1, 0.0, 0.3]}
    )
    rows.append(study("ill", Condition.COVID_19, lesions=ill, spacing_mm=[5.0, 1.0, 1.0]))
    found = {item.key: item for item in summary.findings(rows)}["slice_auc"]
    # Of 12 pairs, the slice without lesion ties with three.
    assert found.estimate.value == pytest.approx((9 + 1.5) / 12)


def test_sources_of_one_patient_take_no_part_in_the_source_test() -> None:
    rows = [
        study(f"{source}{number}", Condition.COVID_19, descriptor={"noise": float(number + 10 * (source == "b"))})
        for source in "ab"
        for number in range(4)
    ]
    (test,) = source_tests([*rows, study("c1", Condition.COVID_19, descriptor={"noise": 5.0})])
    assert (test.studies, test.sources, test.accuracy) == (8, ["a", "b"], 1.0)
    assert source_tests(rows[:4]) == []


def test_shown_slices_are_spread_and_those_with_errors_lie_apart(sets) -> None:
    volume = read(sets / "lidc_idri" / "LIDC-IDRI-0002_ct.nii.gz")
    nothing = np.zeros(SHAPE, np.uint8)
    marked = LesionMask(lesion_labels(), nothing, "given")
    well = ExternalStudy(StudyFacts("w", "w", "w", Condition.NO_PNEUMONIA), volume)
    chosen = wrong_slices(well, marked)
    # Slices of 4 mm, 10 mm apart.
    assert len(chosen) > 1
    assert all(first - second >= 2 for first, second in itertools.pairwise(chosen))
    assert wrong_slices(well, LesionMask(nothing, nothing, "given")) == []
    assert wrong_slices(well, None) == []
    ill = ExternalStudy(StudyFacts("i", "i", "i", Condition.COVID_19), volume)
    assert wrong_slices(ill, marked) == []
    # The lungs lie in slices 2 to 17.
    assert spread_slices(LungMask(lung_labels(), "given")) == [16, 13, 11, 8, 6, 3]


@pytest.mark.usefixtures("small_networks")
def test_systems_without_weights_are_named_and_not_measured() -> None:
    systems, absent = installed_systems()
    assert systems == []
    count = sum(len(entry.configurations) for entry in SYSTEMS.values())
    assert len(absent) == count
    assert all("not installed" in item.reason for item in absent)


def test_an_empty_folder_is_an_error(tmp_path) -> None:
    with pytest.raises(NotFoundError):
        measure(tmp_path, tmp_path / "out", samples=tmp_path)


def test_an_output_that_cannot_be_written_is_an_error(sets, tmp_path, stand_ins) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        measure(sets, tmp_path / "file" / "out", samples=tmp_path)


def test_lung_rows_name_their_method() -> None:
    row = study("ill", Condition.COVID_19, lungs=[LungRow(method="unet", default=True, error="No lungs were found.")])
    assert row.default_lungs is None


def test_samples_alone_are_no_measurement(tmp_path) -> None:
    samples = tmp_path / "samples"
    samples.mkdir()
    (samples / "chest_cta.nii.gz").write_bytes(b"not read")
    with pytest.raises(NotFoundError, match="no external study"):
        measure(tmp_path, tmp_path / "out", samples=samples)
    assert not (tmp_path / "out").exists()


def test_a_picture_that_fails_is_a_failure(sets, tmp_path, stand_ins, monkeypatch) -> None:
    def fails(*_, **__):
        raise InputError("The paint is dry.", "Buy paint.")

    only = [item for item in default_model.list_studies(sets, sets)[0] if item.facts.name == "normal001"]
    monkeypatch.setattr(default_model, "list_studies", lambda *_: (only, []))
    monkeypatch.setattr(default_model, "write_pictures", fails)
    (row,) = measure(sets, tmp_path / "out", samples=sets).studies
    assert row.error is None
    assert row.failures == ["No picture was drawn: The paint is dry. Buy paint."]


def test_command_measures_writes_the_card_and_says_that_something_failed(damaged, tmp_path, stand_ins) -> None:
    docs = tmp_path / "docs"
    arguments = [
        "evaluate",
        "default",
        "--data",
        damaged,
        "--out",
        tmp_path / "out",
        "--samples",
        damaged,
        "--card",
        docs,
    ]
    shown = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    assert shown.exit_code == 10, shown.output
    assert "Targets" in shown.output
    assert "cap001" in shown.output
    assert (docs / "model-card.md").exists()
    assert (tmp_path / "out" / "pictures" / "slices.png").exists()
    assert not (docs / "default-model" / "slices.png").exists()


def test_command_refuses_to_write_into_the_data(sets) -> None:
    result = CliRunner().invoke(cli.app, ["evaluate", "default", "--data", str(sets), "--out", str(sets / "out")])
    assert isinstance(result.exception, CovidBertError)
    assert result.exception.exit_code == 2


def test_command_refuses_a_folder_that_is_not_there_and_keeps_the_card(tmp_path) -> None:
    card = tmp_path / "docs" / "model-card.md"
    card.parent.mkdir()
    card.write_text("old")
    arguments = ["evaluate", "default", "--data", tmp_path / "typo", "--out", tmp_path / "out", "--card", card.parent]
    shown = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    assert shown.exit_code == 2
    assert card.read_text() == "old"


@pytest.mark.parametrize(
    ("stated", "title"), [(True, "Largest false positives"), (False, "Largest marked areas")], ids=["stated", "assumed"]
)
def test_an_assumed_normal_is_not_called_wrong(sets, stated: bool, title: str) -> None:
    volume = read(sets / "lidc_idri" / "LIDC-IDRI-0002_ct.nii.gz")
    facts = StudyFacts("w", "w", "w", Condition.NO_PNEUMONIA, condition_stated=stated)
    assert wrong_title(ExternalStudy(facts, volume)) == title
    drawn = ExternalStudy(facts, volume, lesions=np.zeros(SHAPE, np.uint8))
    assert wrong_title(drawn) == "Largest errors of the lesions"
