"""Models and processor; importing this registers them with the Auto classes of transformers."""

from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from fo1.models.configuration import (
    FO1Config,
    LightEncoderConfig,
    RegionEncoderConfig,
    ScoreHeadConfig,
)
from fo1.models.encoders import register_encoder
from fo1.models.families import HostFeatures, PlainFamily, VLMFamily, register_family
from fo1.models.modeling import FO1ForConditionalGeneration
from fo1.models.processing import FO1Processor
from fo1.models.region_encoder import HostMaps

AutoConfig.register(FO1Config.model_type, FO1Config)
AutoModelForImageTextToText.register(FO1Config, FO1ForConditionalGeneration)
AutoProcessor.register(FO1Config, FO1Processor)

__all__ = [
    "FO1Config",
    "FO1ForConditionalGeneration",
    "FO1Processor",
    "HostFeatures",
    "HostMaps",
    "LightEncoderConfig",
    "PlainFamily",
    "RegionEncoderConfig",
    "ScoreHeadConfig",
    "VLMFamily",
    "register_encoder",
    "register_family",
]
