"""A picture of a synthetic study: slices with the outlines of what was planted."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from covid_bert import RESEARCH_USE_ONLY
from covid_bert.files import write_atomically
from covid_bert.lesions.mask import CONSOLIDATION, GROUND_GLASS
from covid_bert.report.views import INK, LESION_COLOURS, PALE
from covid_bert.synthesis import SyntheticStudy
from covid_bert.volumes import LUNG_WINDOW

SLICES = 8


def synthetic_picture(study: SyntheticStudy, path: Path) -> Path:
    """Draw a synthetic study.

    Parameters
    ----------
    study
        What was made.
    path
        PNG file to write, whole or not at all.
    """
    lungs = study.lungs.array > 0
    with_lung = np.flatnonzero(lungs.any(axis=(1, 2)))
    shown = with_lung[(np.linspace(0.08, 0.9, SLICES) * (len(with_lung) - 1)).astype(int)]
    rows, columns = (np.flatnonzero(lungs.any(axis=axes)) for axes in ((0, 2), (0, 1)))
    box = (slice(max(0, rows[0] - 6), rows[-1] + 7), slice(max(0, columns[0] - 6), columns[-1] + 7))
    spacing = study.volume.spacing
    figure = Figure(figsize=(15, 7), facecolor="white")
    axes = figure.subplots(2, SLICES // 2)
    for axis, index in zip(axes.flat, shown, strict=True):
        image, labels = study.volume.array[index][box], study.lesions[index][box]
        axis.imshow(image, cmap="gray", vmin=LUNG_WINDOW.lower, vmax=LUNG_WINDOW.upper, aspect=spacing[1] / spacing[2])
        for label in (GROUND_GLASS, CONSOLIDATION):
            if (labels == label).any():
                axis.contour(labels == label, [0.5], colors=LESION_COLOURS[label], linewidths=0.9)
        axis.set_axis_off()
    distractors = ", ".join(study.recipe["distractors"]) or "none"
    figure.suptitle(
        f"Synthetic study: {study.pattern}, severity {study.recipe['severity']:g}, seed {study.recipe['seed']}",
        color=INK,
        fontsize=13,
    )
    figure.text(
        0.5,
        0.02,
        f"Lesions were planted by a program. Distractors: {distractors}. {RESEARCH_USE_ONLY}",
        ha="center",
        color=PALE,
        fontsize=10,
    )
    figure.subplots_adjust(left=0.01, right=0.99, top=0.92, bottom=0.06, wspace=0.02, hspace=0.04)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    write_atomically(path, buffer.getvalue())
    return path
