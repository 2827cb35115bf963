"""Light auxiliary encoder: an ImageNet classifier and a COCO detector, both convolutional and frozen.

The classifier sees the picture at several sizes, and each box is pooled from the size on which it is about as large as
the objects that the classifier was trained on. The classifier's last linear layer acts on pooled features just as it
does on globally pooled ones, so a region's class probabilities come out of the same pooling; so do the detector's,
from its dense class maps over the middle of the box. Both stand at the end of the pooled vector as evidence.

The same maps hold boxes: the detector's, whose classes do not count, and those of a head for things of any kind.

Legend: N regions, C channels, H W map size, F classifier features (contrasts, if kept, then means), E evidence classes,
M boxes found.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from fo1.models.configuration import LightEncoderConfig
from fo1.models.efficientnet import PIXEL_MEAN, PIXEL_SCALE, EfficientNetLite, cell_offset
from fo1.models.familiarity import Familiarity
from fo1.models.mask_pooling import cover
from fo1.models.nanodet import FRAME, DenseDetections, NanoDet, decode
from fo1.models.nanodet import PIXEL_MEAN as DETECTOR_MEAN
from fo1.models.nanodet import PIXEL_STD as DETECTOR_STD
from fo1.models.nanodet import STRIDES as DETECTOR_STRIDES
from fo1.models.objectness import STRIDES as OBJECTNESS_STRIDES
from fo1.models.objectness import ObjectnessHead
from fo1.models.pooling import pool_contrasts, pool_regions
from fo1.models.precision import KeepsPrecision

LEAST = 1e-4  # a probability p is kept as 1 + log10(p + LEAST) / 4, which lies in [0, 1]
CELL = 32  # cell offsets are exact where sides are multiples of the coarsest stride
MIDDLE = 0.5  # share of a box's sides over which the detector's class maps are averaged


class LightEncoder(KeepsPrecision):
    """Frozen features and class evidence for the regions of one picture."""

    def __init__(self, config: LightEncoderConfig):
        super().__init__()
        self.config = config
        self.classifier = EfficientNetLite()
        self.detector = NanoDet(config.coco_classes) if config.coco_classes else None
        levels = self.classifier.config.levels
        self.strides = tuple(stride for stride, _ in levels)
        *finer, self.head_width = (channels for _, channels in levels)
        self.feature_width = sum(finer) * (1 + 3 * config.contrasts) + self.head_width
        self.objectness: ObjectnessHead | None = None
        if config.objectness_width:
            channels = tuple(c for stride, c in levels if stride in OBJECTNESS_STRIDES)
            self.objectness = ObjectnessHead(channels, config.objectness_width)
        self.familiarity: Familiarity | None = None
        if config.familiar_axes:
            self.familiarity = Familiarity(sum(finer) + self.head_width, config.familiar_axes)
        self.evidence_widths = tuple(n for n in (config.imagenet_classes, config.coco_classes) if n)
        self.width = self.feature_width + sum(self.evidence_widths)
        self.feature_mean: Tensor
        self.feature_std: Tensor
        self.register_buffer("feature_mean", torch.zeros(self.feature_width))
        self.register_buffer("feature_std", torch.ones(self.feature_width))

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        """Return the classifier's four maps per size, the detector's class maps, then its distances, (width, height).

        Args:
            pixel_values: (1, 3, H, W), RGB, (x - 127) / 128.
        """
        height, width = pixel_values.shape[-2:]
        dtype = next(self.classifier.parameters()).dtype
        maps: list[Tensor] = []
        for side in self.config.sides:
            maps += self.classifier(resize(pixel_values, side).to(dtype))
        if self.detector is not None:
            pixels = resize(pixel_values, FRAME) * PIXEL_SCALE + PIXEL_MEAN
            mean, std = (pixels.new_tensor(v)[:, None, None] for v in (DETECTOR_MEAN, DETECTOR_STD))
            found = self.detector(((pixels - mean) / std).to(dtype))
            maps += (*found.probabilities, *found.distances)
        return (*maps, pixel_values.new_tensor([width, height]))

    def pool(
        self,
        maps: tuple[Tensor, ...],
        boxes: Tensor,
        output_size: int,
        masks: Tensor | None = None,
    ) -> Tensor:
        """Return (N, width) float32; boxes (N, 4) xyxy in pixels of the encoder's input."""
        return self.finish(self.pool_raw(maps, boxes, output_size, masks))

    def pool_raw(
        self,
        maps: tuple[Tensor, ...],
        boxes: Tensor,
        output_size: int,
        masks: Tensor | None = None,
    ) -> Tensor:
        """Return (N, F + detector classes) float32: pooled features and class probabilities, worth caching."""
        views, detected, size = self._split(maps)
        boxes = boxes.to(size.device).float()
        features = boxes.new_zeros(len(boxes), self.feature_width)
        choice = self.choose_side(boxes, size)
        for index, side in enumerate(self.config.sides):
            chosen = choice == index
            if chosen.any():
                frame = _resized(size, side)
                level = [m[0] for m in views[index]]
                own = None if masks is None else masks.to(size.device)[chosen]
                features[chosen] = self._pool_classifier(
                    level, boxes[chosen] * (frame / size).repeat(2), output_size, own
                )
        if detected is None:
            return features
        frame = _resized(size, FRAME)
        middle, seen = middle_of(boxes * (frame / size).repeat(2), masks)
        classes = [
            pool_regions(m[0], middle, stride, output_size, seen)
            for m, stride in zip(detected.probabilities, DETECTOR_STRIDES, strict=True)
        ]
        return torch.cat([features, torch.stack(classes).amax(0)], dim=-1)

    def find(self, maps: tuple[Tensor, ...]) -> list[tuple[Tensor, Tensor]]:
        """Return per source boxes (M, 4), xyxy pixels of the encoder's input, and their scores (M,) in [0, 1], float32.

        The sources are the detector, whose classes do not count, and the objectness head over all sizes of the picture,
        as far as there are any.

        Args:
            maps: of one picture.
        """
        views, detected, size = self._split(maps)
        found: list[tuple[Tensor, Tensor]] = []
        if detected is not None:
            boxes, probabilities = decode(detected)
            scale = (size / _resized(size, FRAME)).repeat(2)
            found.append((boxes[0].float() * scale, probabilities[0].float().amax(-1)))
        if self.objectness is not None:
            parts = []
            for own, side in zip(views, self.config.sides, strict=True):
                pairs = zip(own, self.strides, strict=True)
                chosen = tuple(m.float() for m, stride in pairs if stride in OBJECTNESS_STRIDES)
                logits, boxes = self.objectness(chosen)
                scale = (size / _resized(size, side)).repeat(2)
                parts.append((boxes[0] * scale, logits[0].sigmoid()))
            found.append((torch.cat([b for b, _ in parts]), torch.cat([s for _, s in parts])))
        return found

    def _split(
        self, maps: tuple[Tensor, ...]
    ) -> tuple[list[tuple[Tensor, ...]], DenseDetections | None, Tensor]:
        """Return the classifier's maps of each size, what the detector said, and the size of the encoder's input."""
        count, sides, detector = len(self.strides), len(self.config.sides), len(DETECTOR_STRIDES)
        views = [maps[index * count : (index + 1) * count] for index in range(sides)]
        rest = maps[sides * count : -1]
        if self.detector is None:
            return views, None, maps[-1]
        return views, DenseDetections(rest[:detector], rest[detector:]), maps[-1]

    def finish(self, raw: Tensor) -> Tensor:
        """Return (N, width) from `pool_raw`: standardised features, then the class evidence."""
        features, detected = raw[:, : self.feature_width], raw[:, self.feature_width :]
        head = features[:, -self.head_width :]
        logits = self.classifier.classifier(head.to(self.classifier.classifier.weight.dtype))
        evidence = torch.cat([logits.float().softmax(-1), detected], dim=-1)
        return torch.cat(
            [(features - self.feature_mean) / self.feature_std, 1 + (evidence + LEAST).log10() / 4],
            dim=-1,
        )

    def evidence(self, pooled: Tensor) -> tuple[Tensor, ...]:
        """Return per source the (N, E_s) class probabilities that a pooled (N, width) vector holds."""
        chance = 10 ** ((pooled[:, self.feature_width :] - 1) * 4) - LEAST
        return chance.clamp(0, 1).split(self.evidence_widths, dim=-1)

    def familiar(self, pooled: Tensor) -> Tensor | None:
        """Return (N,) in (0, 1] how much regions look like those that the model learned from; None if it does not tell.

        Args:
            pooled: (N, width), of which the means count.
        """
        if self.familiarity is None:
            return None
        means = pooled[:, : self.feature_width]
        return self.familiarity(means[:, -self.familiarity.axes.shape[1] :])

    def choose_side(self, boxes: Tensor, size: Tensor) -> Tensor:
        """Return (N,) the index of the picture size on which each box is nearest to the target side."""
        sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1).prod(-1).sqrt()
        sizes = boxes.new_tensor(self.config.sides)
        seen = sides[:, None] * sizes / size.max()
        return (seen / self.config.target_side).log().abs().argmin(-1)

    def _pool_classifier(
        self, maps: list[Tensor], boxes: Tensor, output_size: int, masks: Tensor | None
    ) -> Tensor:
        # With "same" padding a cell's centre depends on the stride alone; RoIAlign here means cell i at i * stride.
        placed = [(m, boxes - cell_offset(s), s) for m, s in zip(maps, self.strides, strict=True)]
        contrasts = placed[:-1] if self.config.contrasts else []
        pooled = [
            *(pool_contrasts(*one, output_size, masks) for one in contrasts),
            *(pool_regions(*one, output_size, masks) for one in placed),
        ]
        return torch.cat(pooled, dim=-1)


def shrink_boxes(boxes: Tensor, share: float) -> Tensor:
    """Return (N, 4) boxes with the same centres and `share` of the sides."""
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) * (share / 2)
    return torch.cat([centre - half, centre + half], dim=-1)


def middle_of(boxes: Tensor, masks: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Return the middle of each box, and what is covered there; a mask with nothing there counts as a whole.

    Args:
        boxes: (N, 4).
        masks: (N, M, M) over the boxes, M a multiple of 4; None if there are none.
    """
    middle = shrink_boxes(boxes, MIDDLE)
    if masks is None:
        return middle, None
    masks = masks.to(boxes)
    rim = int(masks.shape[-1] * (1 - MIDDLE) / 2)
    inner = masks[:, rim:-rim, rim:-rim]  # (N, M/2, M/2)
    hollow = cover(inner) == 0
    coarser = masks.unflatten(2, (-1, 2)).unflatten(1, (-1, 2)).mean((2, 4))
    return (
        torch.where(hollow[:, None], boxes, middle),
        torch.where(hollow[:, None, None], coarser, inner),
    )


def _resized(size: Tensor, side: int) -> Tensor:
    """Return (width, height) of a picture brought to a long side, in whole cells of the coarsest map."""
    return ((size * (side / size.max()) / CELL).round() * CELL).clamp(min=CELL)


def resize(pixels: Tensor, side: int) -> Tensor:
    """Return (1, 3, h, w): a picture brought to a long side, in whole cells of the coarsest map."""
    height, width = pixels.shape[-2:]
    target = _resized(torch.tensor([width, height], dtype=torch.float32), side)
    shape = (int(target[1]), int(target[0]))
    if shape == (height, width):
        return pixels
    return F.interpolate(
        pixels.float(), size=shape, mode="bilinear", antialias=True, align_corners=False
    )
