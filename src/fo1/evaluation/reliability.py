"""The reliability plot: of all detections with a score near s, what share is right?"""

from collections.abc import Mapping

from PIL import Image, ImageDraw, ImageFont

from fo1.evaluation.metrics.estimates import reliability
from fo1.evaluation.task import Chances
from fo1.pipeline.request import Score

_SIDE, _EDGE = 360, 48
_COLOURS: Mapping[Score, str] = {
    "proposal": "#e69f00",
    "head": "#0072b2",
    "fusion": "#009e73",
    "token": "#cc79a7",
}


def plot(chances: Mapping[Score, Chances]) -> Image.Image:
    """Return one curve per kind of score over the diagonal of perfect scores.

    A point is a bin of a tenth; its area grows with the share of the detections in it.
    """
    height = _SIDE + 2 * _EDGE + 18 * len(chances)
    sheet = Image.new("RGB", (_SIDE + 2 * _EDGE, height), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)

    def at(score: float, share: float) -> tuple[float, float]:
        return _EDGE + score * _SIDE, _EDGE + (1 - share) * _SIDE

    for tick in range(6):
        value = tick / 5
        pen.line([at(value, 0), at(value, 1)], fill="#dddddd")
        pen.line([at(0, value), at(1, value)], fill="#dddddd")
        pen.text((at(value, 0)[0], _EDGE + _SIDE + 6), f"{value:.1f}", "black", font, anchor="ma")
        pen.text((_EDGE - 6, at(0, value)[1]), f"{value:.1f}", "black", font, anchor="rm")
    pen.line([at(0, 0), at(1, 1)], fill="#888888", width=2)
    pen.text((_EDGE + _SIDE / 2, 14), "share that is right, by score", "black", font, anchor="ma")
    for number, (kind, one) in enumerate(chances.items()):
        colour = _COLOURS[kind]
        bins = reliability(one.chance, one.outcome)
        points = [at(mean, share) for _, _, _, mean, share in bins]
        if len(points) > 1:
            pen.line(points, fill=colour, width=2)
        for (x, y), (_, _, count, _, _) in zip(points, bins, strict=True):
            radius = 2 + 10 * (count / max(1, len(one.chance))) ** 0.5
            pen.ellipse([x - radius, y - radius, x + radius, y + radius], outline=colour, width=2)
        row = _SIDE + 2 * _EDGE - 16 + 18 * number
        pen.rectangle([_EDGE, row + 3, _EDGE + 12, row + 15], fill=colour)
        text = f"{kind}, {len(one.chance)} detections"
        pen.text((_EDGE + 18, row + 2), text, "black", font)
    return sheet
