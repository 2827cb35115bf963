"""Pictures that are not there, told without waiting for the libraries that would look at them."""

import os
from typing import TextIO

from fo1.cli.interrupts import Interrupts
from fo1.cli.job import Job
from fo1.cli.output import emit, failure
from fo1.cli.progress import Progress
from fo1.errors import ImageError
from fo1.imaging import load_image


def tell_missing(job: Job, out: TextIO, err: TextIO, interrupts: Interrupts) -> int:
    """Write the rows of a job of which no picture is there, and return how many; 0 if one is."""
    errors: list[ImageError] = []
    for image in job.images:
        if os.path.exists(image):
            return 0
        try:
            load_image(image)  # may be a data URL
        except ImageError as error:
            errors.append(error)
        else:
            return 0
    with Progress(len(errors), err) as progress:
        for image, error in zip(job.images, errors, strict=True):
            with interrupts.held(), progress.aside():
                emit(job, failure(job, image, error, err), out, err)
                progress.step(failed=True)
    return progress.failed
