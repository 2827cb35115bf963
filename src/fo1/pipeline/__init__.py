"""Pictures in, answers out: `FO1` loads a model, `Scene` is a picture that it has encoded."""

from fo1.pipeline.chat import Reply
from fo1.pipeline.fo1 import FO1
from fo1.pipeline.request import DEFAULT_THRESHOLD, Outcome, Request
from fo1.pipeline.scene import CountResult, Scene

__all__ = ["DEFAULT_THRESHOLD", "FO1", "CountResult", "Outcome", "Reply", "Request", "Scene"]
