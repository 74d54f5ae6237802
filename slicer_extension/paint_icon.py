"""Paints the extension's icon. Run it with Pillow: ``python slicer_extension/paint_icon.py``.

Two lungs in the colours of their segments, cut by slices, over the bars of the evidence chart.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw

SIZE = 128
_FINE = 8  # Painted larger and scaled down: Pillow's shapes have hard edges.
_BACKGROUND, _AIRWAY, _SLICE = "#16324f", "#d5dee7", "#16324f"
_RIGHT_LUNG, _LEFT_LUNG, _PEAK = "#56b4e9", "#e69f00", "#cc79a7"
_LUNG = [(58, 34), (52, 24), (44, 22), (34, 30), (24, 48), (18, 68), (18, 84), (26, 88), (40, 84), (54, 78), (58, 72)]
_BARS = (4, 7, 11, 18, 24, 16, 9, 6)
_SLICES = (40, 52, 64, 76)


def paint() -> Image.Image:
    """Return the icon, 128 by 128 pixels."""
    image = Image.new("RGBA", (SIZE * _FINE, SIZE * _FINE), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    draw.rounded_rectangle(_scaled([(2, 2), (125, 125)]), 20 * _FINE, fill=_BACKGROUND)
    draw.line(_scaled([(64, 14), (64, 40)]), _AIRWAY, 5 * _FINE)
    for points, colour in ((_LUNG, _RIGHT_LUNG), ([(SIZE - x, y) for x, y in _LUNG], _LEFT_LUNG)):
        draw.polygon(_scaled(points), fill=colour)
        draw.line(_scaled([*points, points[0]]), colour, 6 * _FINE, joint="curve")
    for height in _SLICES:
        draw.line(_scaled([(14, height), (114, height)]), _SLICE, 2 * _FINE)
    for number, height in enumerate(_BARS):
        left = 21 + 11 * number
        colour = _PEAK if height == max(_BARS) else _AIRWAY
        draw.rectangle(_scaled([(left, 118 - height), (left + 8, 118)]), fill=colour)
    return image.resize((SIZE, SIZE), Image.Resampling.LANCZOS)


def _scaled(points: list[tuple[int, int]]) -> list[tuple[int, int]]:
    return [(x * _FINE, y * _FINE) for x, y in points]


def main() -> None:
    """Write the icon of the Extensions Index and the module's."""
    folder = Path(__file__).resolve().parent
    icon = paint()
    for path in (folder / "CovidBert.png", folder / "CovidBert" / "Resources" / "Icons" / "CovidBert.png"):
        icon.save(path, optimize=True)


if __name__ == "__main__":
    main()
