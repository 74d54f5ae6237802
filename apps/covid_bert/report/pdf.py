"""A result as a PDF of a page or two: for paper, and for archives, which keep it in the patient's study.

It names no patient: the DICOM object around it does. Slices are shown the radiological way.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from textwrap import shorten

from reportlab.lib.pagesizes import A4
from reportlab.lib.units import mm
from reportlab.platypus import BaseDocTemplate, Flowable, Frame, KeepTogether, PageTemplate, Spacer, Table, TableStyle

from covid_bert import DEMONSTRATION_MODEL, RESEARCH_USE_ONLY
from covid_bert.report.evidence import key_slices
from covid_bert.report.pdf_figures import chart_figure, probability_scale, sections_figure, slices_figure
from covid_bert.report.pdf_style import (
    BODY,
    FOOTER,
    HEADER,
    LINE,
    MARGIN,
    NUMBER,
    SECTION,
    SMALL,
    TITLE,
    UNDER_NUMBER,
    WIDTH,
    PageFrame,
    alert,
    grid,
    register_fonts,
    text,
)
from covid_bert.report.picture import state_lines
from covid_bert.report.views import reading_note, shown_slices
from covid_bert.report.words import answer, class_title, decision, density_title, state_sentence
from covid_bert.systems import SYSTEMS, Classification
from covid_bert.systems.result import StudyResult
from covid_bert.volumes.volume import Volume

_MISSING = "-"
# Letters; the whole sentence stands in the measurement report.
_TRAINED_ON = 170


def pdf_report(volume: Volume, classification: Classification, image_names: Mapping[int, str] | None = None) -> bytes:
    """Write a result as a PDF.

    Parameters
    ----------
    volume
        The study.
    classification
        Its result, with masks and map on the study's canonical grid.
    image_names
        What other viewers call slices, by canonical slice: they often count from the head.

    Returns
    -------
    bytes
        The file; the same for the same result. It holds neither name nor number nor date of a patient.
    """
    register_fonts()
    result = classification.result
    shown = shown_slices(result)
    evidence = [item.index for item in key_slices(result)]
    story: list[Flowable] = [
        text("Chest CT: study classification, lungs and lesions", TITLE),
        text(_subtitle(result), SMALL),
        Spacer(0, 2 * mm),
        alert([RESEARCH_USE_ONLY, *state_lines(result)]),
        text("Result", SECTION),
        *_answer(result),
        text("Volumes", SECTION),
        *_volumes(result),
        text("Views", SECTION),
        sections_figure(volume, classification, shown),
        text(
            f"{reading_note(volume)} Outlines: right lung blue, left lung orange. "
            + (
                "Tinted: lesions of the network, ground-glass dashed, consolidation solid."
                if classification.lesions is not None
                else "Tinted: where the score comes from (location map)."
            ),
            SMALL,
        ),
        text("Evidence over the slices (dotted: the slices above)", SECTION),
        chart_figure(classification, shown),
    ]
    if evidence:
        story.append(
            KeepTogether(
                [
                    text("Key slices, the strongest first", SECTION),
                    slices_figure(volume, classification, evidence),
                    grid(_evidence_rows(result, evidence, image_names or {}), (0.4, 1, 1.3, 1.3, 1.6, 1.5, 1.5)),
                ]
            )
        )
    warnings = [warning for warning in result.warnings if warning != DEMONSTRATION_MODEL]
    if warnings:
        story += [text("Warnings", SECTION), *(text(f"!  {warning}") for warning in warnings)]
    story += [text("How this came about", SECTION), grid(_provenance(result), (1, 4), header=False)]
    story += [text("Weights", SECTION), grid(_weights(result), (1.6, 0.75, 1.5, 4.2))]
    return _built(story, result)


def _built(story: list[Flowable], result: StudyResult) -> bytes:
    class Frames(PageFrame):
        study = result.study.identifier

    buffer = io.BytesIO()
    document = BaseDocTemplate(
        buffer,
        pagesize=A4,
        title="Chest CT research report",
        author="covid-bert",
        subject=RESEARCH_USE_ONLY,
        creator="covid-bert",
        invariant=1,
    )
    frame = Frame(
        MARGIN, FOOTER, WIDTH, A4[1] - HEADER - FOOTER, leftPadding=0, rightPadding=0, topPadding=0, bottomPadding=0
    )
    document.addPageTemplates(PageTemplate(frames=[frame]))
    document.build(story, canvasmaker=Frames)
    return buffer.getvalue()


def _subtitle(result: StudyResult) -> str:
    made = result.provenance
    return (
        f"{SYSTEMS[made.system].title}, {made.configuration} configuration. Computed {made.created:%Y-%m-%d %H:%M} "
        "UTC. Who the patient is stands in the header of the DICOM object alone."
    )


def _answer(result: StudyResult) -> list[Flowable]:
    number, meaning = answer(result)
    calibrated = result.calibrated_probability
    left: list[Flowable] = [text(number, NUMBER), Spacer(0, 2.5 * mm), text(meaning, UNDER_NUMBER)]
    right: list[Flowable] = [text(decision(result), BODY), text(state_sentence(result), BODY)]
    if calibrated is not None:
        left.append(probability_scale(calibrated))
        right += [
            Spacer(0, 1 * mm),
            text(f"Calibrated on: {calibrated.calibrated_on}.", SMALL),
            text(f"Operating point chosen on: {calibrated.threshold_chosen_on}.", SMALL),
        ]
    if result.out_of_distribution_score is not None:
        right.append(
            text(f"Distance from the training studies: {result.out_of_distribution_score:.2f} (limit 1).", SMALL)
        )
    both = Table([[left, right]], colWidths=[66 * mm, WIDTH - 66 * mm])
    both.setStyle(
        TableStyle(
            [
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("BOX", (0, 0), (-1, -1), 0.6, LINE),
                ("LINEAFTER", (0, 0), (0, 0), 0.6, LINE),
                ("TOPPADDING", (0, 0), (-1, -1), 5),
                ("LEFTPADDING", (0, 0), (-1, -1), 6),
            ]
        )
    )
    names = list(result.class_scores)
    rows = [["Scores (not probabilities)", *(class_title(name) for name in names), "weights"]]
    for stage in result.stages:
        rows.append([stage.description, *(_score(stage.scores.get(name)) for name in names), stage.weights_state.value])
    rows.append(
        ["All stages together", *(_score(result.class_scores[name]) for name in names), result.weights_state.value]
    )
    agreement = {None: "", True: "The stages agree. ", False: "The stages DISAGREE. "}[result.stages_agree]
    table = grid(rows, (3, *([1.1] * len(names)), 1))
    return [both, Spacer(0, 2 * mm), table, *([text(agreement, SMALL)] if agreement else [])]


def _volumes(result: StudyResult) -> list[Flowable]:
    lungs, lesions = result.lungs, result.lesions
    if lungs.total_ml is None:
        return [text("No volumes: the voxel size is not known.")]
    classes = list(lungs.right_share_by_hu_class or lungs.left_share_by_hu_class or {})
    rows = [
        ["", "Lung, mL", "Ground-glass, mL", "Consolidation, mL", "Lesions, % of lung", *map(density_title, classes)]
    ]
    sides = (
        ("Right", lungs.right_ml, lungs.right_share_by_hu_class, "right"),
        ("Left", lungs.left_ml, lungs.left_share_by_hu_class, "left"),
    )
    for title, volume, shares, side in sides:
        found = [getattr(lesions, f"{side}_{what}", None) for what in ("ground_glass_ml", "consolidation_ml", "share")]
        rows.append(
            [title, _ml(volume), _ml(found[0], 1), _ml(found[1], 1), _percent(found[2])]
            + [_percent((shares or {}).get(name)) for name in classes]
        )
    total = [_MISSING] * 3
    if lesions is not None:
        parts = (lesions.right_ground_glass_ml, lesions.left_ground_glass_ml)
        dense = (lesions.right_consolidation_ml, lesions.left_consolidation_ml)
        total = [_ml(_sum(parts), 1), _ml(_sum(dense), 1), _percent(lesions.share)]
    rows.append(["Both", _ml(lungs.total_ml), *total, *([""] * len(classes))])
    note = f"Lungs by {lungs.method}"
    note += f"; lesions by {lesions.method}." if lesions is not None else "; lesions were not looked for."
    return [
        grid(rows, (0.62, 0.85, 1.3, 1.45, 1.15, *([1.1] * len(classes)))),
        text(f"{note} Ranges of density are shares of the lung's voxels; they are no diagnosis.", SMALL),
    ]


def _evidence_rows(result: StudyResult, slices: list[int], image_names: Mapping[int, str]) -> list[list[str]]:
    by_index = {item.index: item for item in result.slice_evidence}
    shares = ["Share of location map", "Lesions, % of lung", "Mean score of clips"]
    rows = [["", "Slice", "Image in the series", "Position, mm to the head", *shares]]
    for number, index in enumerate(slices, start=1):
        item = by_index[index]
        position = _MISSING if item.position_mm is None else f"{item.position_mm:.1f}"
        shares = [_percent(item.location_share), _percent(item.lesion_share), _score(item.score)]
        name = image_names.get(index, _MISSING)
        rows.append([str(number), f"{index + 1} of {result.study.slices}", name, position, *shares])
    return rows


def _provenance(result: StudyResult) -> list[list[str]]:
    made, study = result.provenance, result.study
    spacing = " x ".join(f"{each:g}" for each in study.spacing_mm) if study.spacing_mm else "unknown"
    first, last = made.kept_slices
    return [
        [
            "Study",
            f"{study.slices} slices of {study.rows} x {study.columns}, spacing {spacing} mm; hash {study.identifier}",
        ],
        ["System", f"{made.system}, {made.configuration} configuration, covid-bert {made.software_version}"],
        ["Looked at", f"slices {first + 1} to {last + 1}, {len(result.windows)} clip(s) by {made.slice_choice}"],
        ["Computed", f"{made.precision} on {made.device}, {sum(made.seconds.values()):.1f} s"],
    ]


def _weights(result: StudyResult) -> list[list[str]]:
    rows = [["Weights", "Version", "SHA-256", "Trained on"]]
    for item in result.provenance.weights:
        rows.append(
            [
                item.name,
                item.version,
                f"{item.sha256[:16]}...",
                shorten(item.trained_on, _TRAINED_ON, placeholder=" ..."),
            ]
        )
    return rows


def _score(value: float | None) -> str:
    return _MISSING if value is None else f"{value:.3f}"


def _percent(value: float | None) -> str:
    return _MISSING if value is None else f"{value:.1%}"


def _ml(value: float | None, decimals: int = 0) -> str:
    return _MISSING if value is None else f"{value:.{decimals}f}"


def _sum(parts: tuple[float | None, ...]) -> float | None:
    return None if None in parts else sum(part for part in parts if part is not None)
