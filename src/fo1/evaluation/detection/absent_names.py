"""Which names are known not to be in a picture, as annotation files of COCO's kind tell it.

    verified_absent_category_ids of a picture, absent names of the file     as in the open photo set
    neg_category_ids of a picture                                           LVIS
    neither: every category without a box                                   COCO, boxed exhaustively

What nobody looked for is not absent, so only one of the three is taken, the first that a file has.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from fo1.errors import InputError
from fo1.formats.broken import Broken
from fo1.formats.coco import CocoFile, Fields, is_whole, read_object
from fo1.formats.limits import read_name

VERIFIED, NEGATIVE = "verified_absent_category_ids", "neg_category_ids"


@dataclass(frozen=True, slots=True, eq=False)
class AbsentNames:
    """Tells the absent names of every picture of a file.

    Attributes:
        file: the annotation file.
        rule: what counts as absent, for people.
        field: of a picture, that lists absent categories; None if all without a box are absent.
        named: by id of the picture, further absent names.
        broken: rows of the list of further names that cannot be used.
    """

    file: CocoFile
    rule: str
    field: str | None
    named: Mapping[int, set[str]]
    broken: tuple[Broken, ...]

    @classmethod
    def of(cls, file: CocoFile) -> Self:
        """Return what a file says.

        Raises:
            InputError: its "absent" is no list.
        """
        named, broken = _named(file)
        if named or broken or any(VERIFIED in row for row in file.pictures):
            rule = f"what {VERIFIED} of the picture or the list absent of the file names"
            return cls(file, rule, VERIFIED, named, broken)
        if any(NEGATIVE in row for row in file.pictures):
            return cls(file, f"what {NEGATIVE} of the picture names", NEGATIVE, {}, ())
        return cls(file, "every category that has no box in the picture", None, {}, ())

    def names(self, row: Fields) -> tuple[str, ...]:
        """Return the absent names of a picture in order; those of its crowds are left out.

        Raises:
            ValueError: the picture's list is something else, or a name is boxed as well.
        """
        boxes = self.file.boxes[row["id"]]
        absent = set(self.file.names.values())
        if self.field is not None:
            listed = self.file.listed(row, self.field) if self.field in row else ()
            absent = {*listed, *self.named.get(row["id"], ())}
            both = sorted(absent & {one.name for one in boxes if not one.crowd})
            if both:
                raise InputError(f"{both[0]!r} is boxed and listed as absent; mend one of the two")
        return tuple(sorted(absent - {one.name for one in boxes}))


def _named(file: CocoFile) -> tuple[dict[int, set[str]], tuple[Broken, ...]]:
    """Return by picture the names in the list "absent" of a file, and the rows it cannot use."""
    rows: Any = read_object(file.path).get("absent", [])
    if not isinstance(rows, list):
        raise InputError(f"{file.path}: absent is {str(rows)[:60]!r}, need a list of rows")
    named: dict[int, set[str]] = {}
    broken: list[Broken] = []
    for place, row in enumerate(rows, 1):
        try:
            if not isinstance(row, dict):
                raise InputError(f"it is {str(row)[:60]!r}, need image_id and names")
            number, names = row.get("image_id"), row.get("names")
            if not is_whole(number) or number not in file.boxes:
                raise InputError(f"image_id is {str(number)[:60]}, which the file does not list")
            if not isinstance(names, list):
                raise InputError(f"names is {str(names)[:60]!r}, need a list of names")
            named.setdefault(number, set()).update([read_name(name) for name in names])
        except ValueError as error:
            broken.append(Broken(f"absent row {place}", str(error)))
    return named, tuple(broken)
