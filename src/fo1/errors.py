"""Every exception that fo1 raises on purpose.

    FO1Error
    +-- InputError (ValueError)          what the caller passed cannot be used
    |   +-- ImageError                   a picture cannot be read
    |   +-- BoxError                     boxes are malformed or miss the picture
    |   +-- QueryError                   a query, expression or region number is unusable
    +-- CheckpointError (ValueError)     model files are missing, damaged or of another kind
    +-- MissingExtraError (ImportError)  an optional dependency is not installed

A message is one line: what was found, what was expected, and the cure.
"""


class FO1Error(Exception):
    """Base of all errors that fo1 raises on purpose."""


class InputError(FO1Error, ValueError):
    """Raised when something the caller passed cannot be used."""


class ImageError(InputError):
    """Raised when a picture is missing, damaged, too large or of an unusable kind."""


class BoxError(InputError):
    """Raised when boxes are malformed, not finite, inverted or wholly outside the picture."""


class QueryError(InputError):
    """Raised when a query is empty or names a region that does not exist."""


class CheckpointError(FO1Error, ValueError):
    """Raised when model files are missing, damaged or of an unknown layout."""


class MissingExtraError(FO1Error, ImportError):
    """Raised when an optional dependency is needed; names the install command.

    Example:
        >>> print(MissingExtraError("to_supervision", "supervision", "export"))
        to_supervision needs the package 'supervision'; run: pip install 'fo1[export]'
    """

    def __init__(self, feature: str, package: str, extra: str) -> None:
        self.feature = feature
        self.package = package
        self.extra = extra
        super().__init__(
            f"{feature} needs the package '{package}'; run: pip install 'fo1[{extra}]'"
        )

    def __reduce__(self) -> tuple[type["MissingExtraError"], tuple[str, str, str]]:
        """Return what pickle needs; the default would pass the message as the first argument."""
        return type(self), (self.feature, self.package, self.extra)


def short_name(name: str, limit: int = 200) -> str:
    r"""Return a file's name as errors tell it: on one line, of readable length.

    Example:
        >>> short_name("a\nb.jpg")
        'a\\nb.jpg'
    """
    shown = name if name.isprintable() else ascii(name)[1:-1]
    return shown if len(shown) <= limit else f"{shown[:limit]}..."
