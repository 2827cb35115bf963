"""Libraries kept silent while a command runs; its own lines are enough."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_SETTINGS = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "TRANSFORMERS_VERBOSITY": "error"}


@contextmanager
def quiet() -> Iterator[None]:
    """Hide warnings, logs and progress bars of libraries, imported already or later."""
    level, settings = logging.root.manager.disable, {n: os.environ.get(n) for n in _SETTINGS}
    logging.disable(logging.CRITICAL)
    os.environ |= _SETTINGS
    if "transformers" in sys.modules:  # it read the settings when it was imported
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
        for name, value in settings.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
