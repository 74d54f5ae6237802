"""The curve of a training as a table and as a picture, for the folders of its run and of its version."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from covid_bert.retraining.records import CurvePoint

_LOSS, _VALIDATION = "#8a8f98", "#1f6fb2"


def curve_table(curve: Sequence[CurvePoint]) -> str:
    """Write a curve as CSV: one line for each epoch; a measure that an epoch does not have is left empty."""
    names = list(dict.fromkeys(name for point in curve for name in point.validation))
    content = io.StringIO()
    writer = csv.writer(content, lineterminator="\n")
    writer.writerow(["epoch", "loss", "learning_rate", "seconds", *names])
    for point in curve:
        values = [point.validation.get(name, "") for name in names]
        writer.writerow([point.epoch, point.loss, point.learning_rate, round(point.seconds, 3), *values])
    return content.getvalue()


def curve_picture(curve: Sequence[CurvePoint]) -> bytes:
    """Draw loss and deciding measure over the epochs, as PNG."""
    # The table alone is written by processes that draw nothing.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    from covid_bert.report.views import INK, PALE

    figure = Figure(figsize=(7, 4), facecolor="white", layout="constrained")
    axes = figure.subplots()
    epochs = [point.epoch for point in curve]
    axes.plot(epochs, [point.loss for point in curve], color=_LOSS, marker="o", markersize=3)
    axes.set_xlabel("epoch", color=INK)
    axes.set_ylabel("loss", color=_LOSS)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color=PALE, alpha=0.2)
    name = next((name for point in curve for name in point.validation), None)
    if name is not None:
        judged = [point for point in curve if name in point.validation]
        other = axes.twinx()
        other.plot(
            [point.epoch for point in judged],
            [point.validation[name] for point in judged],
            color=_VALIDATION,
            marker="o",
            markersize=3,
        )
        other.set_ylabel(f"validation: {name}", color=_VALIDATION)
    content = io.BytesIO()
    FigureCanvasAgg(figure).print_png(content)
    return content.getvalue()
