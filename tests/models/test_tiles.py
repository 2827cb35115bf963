"""Hosts that cut pictures into tiles: what stands in a prompt, and where large boxes are pooled."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers.models.idefics3.processing_idefics3 import Idefics3Processor
from transformers.models.smolvlm.processing_smolvlm import SmolVLMProcessor

from fo1.errors import CheckpointError, InputError
from fo1.models.families import get_family
from fo1.models.pooling import pool_regions
from tests import tiny

TILED = ("llava_onevision", "internvl", "idefics3", "smolvlm")
SIZE = (168, 112)  # three by two tiles


@pytest.mark.parametrize("host", TILED)
@torch.inference_mode()
def test_boxes_that_fit_no_tile_are_pooled_from_the_overview(host: str) -> None:
    model = tiny.make_model(host, use_pyramid=False, use_auxiliary=False, box_embedding=False)
    processor = tiny.make_processor(host)
    boxes = np.float32([[60, 10, 110, 60], [60, 10, 120, 60], [2, 1, 20, 110], [0, 0, 168, 112]])
    inputs = processor(images=[tiny.picture(*SIZE)], boxes=[boxes])
    encoding = model.encode_images(inputs)
    (maps,), (seen,) = encoding.host.maps, inputs["host_boxes"]
    assert (maps.frame, maps.origin, maps.maps[0].shape[1:]) == (SIZE, (0, 0), (8, 12))
    assert maps.overview is not None
    assert (maps.overview.frame, maps.overview.maps[0].shape[1:]) == ((tiny.TILE,) * 2, (4, 4))
    features = model.encode_regions(encoding, None, inputs["host_boxes"]).features
    fine = pool_regions(torch.cat(maps.maps), seen, 14, 7)
    whole = pool_regions(torch.cat(maps.overview.maps), seen / torch.tensor([3, 2, 3, 2]), 14, 7)
    torch.testing.assert_close(features[:1], fine[:1])
    torch.testing.assert_close(features[1:], whole[1:])
    kept = encoding.for_boxes().host.maps[0]
    assert (kept.maps, kept.overview and kept.overview.maps) == ((), ())
    again = model.encode_regions(encoding.for_boxes(), None, inputs["host_boxes"]).features
    assert torch.equal(again, features)


@pytest.mark.parametrize("host", ["internvl", "idefics3", "smolvlm"])
def test_a_picture_of_one_tile_has_no_overview(host: str) -> None:
    model, processor = tiny.make_model(host), tiny.make_processor(host)
    processor.image_processor.max_patches = 1
    processor.image_processor.do_image_splitting = False
    encoding = model.encode_images(processor(images=[tiny.picture(*SIZE)]))
    assert encoding.host.maps[0].overview is None
    assert encoding.host.maps[0].frame == (tiny.TILE, tiny.TILE)


@pytest.mark.parametrize(
    ("host", "own"), [("idefics3", Idefics3Processor), ("smolvlm", SmolVLMProcessor)]
)
@pytest.mark.parametrize("tiling", [(1, 1), (2, 3), (1, 4)])
def test_tiles_are_marked_as_the_host_s_own_processor_does(
    host: str, own: Any, tiling: tuple[int, int]
) -> None:
    pictures = {"tilings": torch.tensor([tiling])}
    image_processor = tiny.make_processor(host).image_processor
    (text,) = get_family(host).texts(image_processor, pictures, "<image>")
    names = SimpleNamespace(
        fake_image_token="<fake_token_around_image>",
        global_image_token="<global-img>",
        global_image_tag="<global-img>",
        image_token="<image>",
        image_seq_len=4,
    )
    rows, columns = (0, 0) if tiling == (1, 1) else tiling
    own_inputs = {"rows": [[rows]], "cols": [[columns]]}
    assert text == own.replace_image_token(names, own_inputs, 0)


def test_pixels_that_a_tower_leaves_of_a_tile_shift_nothing() -> None:
    """Tiles of 60 pixels have four patches of 14: the maps lie evenly over what they show."""
    config: Any = tiny.HOSTS["llava_onevision"].config()
    config.vision_config.image_size = 60
    config.image_grid_pinpoints = [[60, 120], [120, 60]]
    family, given = get_family("llava_onevision"), tiny.HOSTS["llava_onevision"].image_processor()
    given.size, given.image_grid_pinpoints = {"height": 60, "width": 60}, [[60, 120], [120, 60]]
    fitted = family.fit_image_processor(given, config)
    pictures = {"image_sizes": torch.tensor([[60, 120], [30, 120]])}
    assert family.frames(fitted, pictures) == [(112, 56), (112, 28)]
    texts = family.texts(fitted, pictures, "<i>")
    assert [text.count("<i>") for text in texts] == [16 + 4 * 9, 16 + 2 * 9]


@pytest.mark.parametrize(
    ("host", "settings", "problem"),
    [
        (
            "llava_onevision",
            {"size": {"height": 70, "width": 70}},
            "the vision tower reads 56 x 56",
        ),
        ("llava_onevision", {"image_grid_pinpoints": [[56, 56]]}, "knows 1 grids of tiles"),
        ("internvl", {"size": {"height": 70, "width": 70}}, "the vision tower reads 56 x 56"),
        ("idefics3", {"max_image_size": {"longest_edge": 70}}, "cuts tiles of 70 pixels"),
        ("gemma3", {"size": {"height": 70, "width": 70}}, "the vision tower reads 140 x 140"),
        ("gemma3", {"do_pan_and_scan": True}, "do_pan_and_scan adds crops.*set it to False"),
    ],
)
def test_an_image_processor_of_another_host_is_refused(
    host: str, settings: dict[str, Any], problem: str
) -> None:
    given = tiny.HOSTS[host].image_processor()
    for name, value in settings.items():
        setattr(given, name, value)
    with pytest.raises(InputError, match=problem):
        get_family(host).fit_image_processor(given, tiny.HOSTS[host].config())


def test_class_tokens_among_tiles_are_refused() -> None:
    config: Any = tiny.HOSTS["llava_onevision"].config()
    config.vision_config = tiny.HOSTS["llava"].config().vision_config
    config.vision_config.image_size = tiny.TILE
    given = tiny.HOSTS["llava_onevision"].image_processor()
    with pytest.raises(CheckpointError, match=r"no place among tiles; set .* to 'default'"):
        get_family("llava_onevision").fit_image_processor(given, config)
