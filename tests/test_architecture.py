"""Laws that the source tree itself can break: import direction, heavy imports, names."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

import pytest

import fo1

ROOT = Path(fo1.__file__).parent
FILES = {str(path.relative_to(ROOT)): path for path in sorted(ROOT.rglob("*.py"))}
INIT = "__init__.py"  # the package's own, which names everything and loads it on first use

# A part of the package may import from its own layer and from lower ones.
LAYERS = (
    ("errors", "garbage", "geometry", "masks", "polygons", "results"),
    (
        "tags",
        "prompts",
        "layout",
        "parsing",
        "markup",
        "grammar",
        "imaging",
        "pixels",
        "visualize",
        "lexicon",
        "ordering",
        "selection",
        "tiles",
        "export",
        "formats",
    ),
    ("models",),
    ("proposals", "data", "segmentation"),
    ("pipeline", "training"),
    ("evaluation", "serving", "labelling", "demo", "onnx"),
    ("cli", "__main__"),
)
# Within models/; all that is not named, such as modeling and processing, stands in the empty one.
MODEL_LAYERS = (
    ("configuration", "checks", "tensor_files"),
    ("published",),
    (),
    ("checkpoints",),
)
LAYER = {part: number for number, parts in enumerate(LAYERS) for part in parts}
TORCH_FREE = LAYERS[0] + LAYERS[1]
STRANGERS = {*permutations(LAYERS[4], 2), *permutations(LAYERS[5], 2)}
NEVER = {"torchvision", "timm", "flash_attn"}
# The published layout is one family's, and so is the configuration's default.
FAMILY_NAMES = re.compile(r"qwen|llava|internvl|smolvlm|idefics|paligemma|gemma", re.IGNORECASE)
MAY_NAME_A_FAMILY = (
    *("models/families/", "models/published/", "models/checkpoints/published_processor.py"),
    "models/configuration.py",
    "evaluation/published.py",  # whose models they are
    "training/recipes/",
)


def part_of(file: str) -> str:
    return file.split("/")[0].removesuffix(".py")


def model_layer(part: str) -> int:
    """Return the layer within models/ of a file, of a folder, or of a name that models/__init__.py gives."""
    name = part.removesuffix(".py")
    found = [number for number, parts in enumerate(MODEL_LAYERS) if name in parts]
    return found[0] if found else MODEL_LAYERS.index(())


def parse(file: str) -> ast.Module:
    return ast.parse(FILES[file].read_text(encoding="utf-8"), file)


def imports(file: str) -> Iterator[str]:
    """Return the dotted names that a file imports, anywhere in it."""
    for node in ast.walk(parse(file)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def texts(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Return line and text of all names and strings that are not docstrings."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and ast.get_docstring(node) is not None
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) in docstrings:
                continue
            yield node.lineno, node.value
        for field in ("id", "attr", "name", "module", "arg"):
            value = getattr(node, field, None)
            if isinstance(value, str):
                yield getattr(node, "lineno", 0), value


@pytest.mark.parametrize("file", [file for file in FILES if file != INIT])
def test_imports_point_downwards(file: str) -> None:
    part = part_of(file)
    assert part in LAYER, f"{file} stands in no layer; give it one in LAYERS"
    for name in imports(file):
        if not name.startswith("fo1."):
            continue
        other = name.split(".")[1]
        if other not in LAYER:  # `from fo1 import FO1`, which reaches up to the pipeline
            assert LAYER[part] >= LAYER["evaluation"], f"{file} imports {name} by the front door"
            continue
        assert LAYER[other] <= LAYER[part], f"{file} imports {name}, which stands higher"
        assert (part, other) not in STRANGERS, f"{file} imports its neighbour {name}"


@pytest.mark.parametrize("file", [file for file in FILES if part_of(file) == "models"])
def test_imports_within_models_point_downwards(file: str) -> None:
    for name in imports(file):
        if name.startswith("fo1.models."):
            assert model_layer(name.split(".")[2]) <= model_layer(file.split("/")[1]), name


@pytest.mark.parametrize("file", FILES)
def test_families_are_known_by_their_registry(file: str) -> None:
    """Others import the registry, not an adapter; an adapter does not know the model."""
    adapters = {Path(f).stem for f in FILES if f.startswith("models/families/")} - {"__init__"}
    for name in imports(file):
        if file.startswith("models/families/"):
            assert not name.startswith(("fo1.models.modeling", "fo1.models.processing"))
        elif name.startswith("fo1.models.families."):
            assert name.split(".")[3] not in adapters, f"{file} imports {name}"


@pytest.mark.parametrize("file", FILES)
def test_no_family_is_named_outside_its_adapter(file: str) -> None:
    if file.startswith(MAY_NAME_A_FAMILY):
        return
    for line, text in texts(parse(file)):
        assert not FAMILY_NAMES.search(text), f"{file}:{line} {text!r}"


@pytest.mark.parametrize("file", FILES)
def test_no_forbidden_import(file: str) -> None:
    roots = {name.split(".")[0] for name in imports(file)}
    assert not roots & NEVER
    if part_of(file) in TORCH_FREE:
        assert not roots & {"torch", "transformers"}


@pytest.mark.parametrize("file", [file for file in FILES if part_of(file) != "cli"])
def test_library_code_does_not_print(file: str) -> None:
    for node in ast.walk(parse(file)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"print", "breakpoint", "input"}, f"{file}:{node.lineno}"


@pytest.mark.parametrize("file", FILES)
def test_no_bare_except_and_no_module_state(file: str) -> None:
    for node in ast.walk(parse(file)):
        bare = isinstance(node, ast.ExceptHandler) and node.type is None
        assert not bare, f"{file}:{node.lineno} catches everything"
        assert not isinstance(node, ast.Global), f"{file}:{node.lineno} rebinds a module's name"


@pytest.mark.parametrize("file", FILES)
def test_no_drawer_for_everything(file: str) -> None:
    names = {name.removesuffix(".py") for name in file.split("/")}
    assert not names & {"utils", "helpers", "misc", "common"}


def modules_after(statement: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter holds after a statement."""
    code = f"import sys\n{statement}\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    command = [sys.executable, "-c", code]
    env = {"PYTHONPATH": str(ROOT.parent), "PATH": ""}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    return set(done.stdout.split())


def test_importing_the_package_is_light() -> None:
    """Torch-free layers stay so at run time as well, whatever they import in turn."""
    light = [part for part in TORCH_FREE if f"{part}.py" in FILES]
    statement = "import fo1, " + ", ".join(f"fo1.{part}" for part in light)
    assert not modules_after(statement) & {"torch", "transformers", "torchvision", "cv2"}


def test_the_laws_are_tested() -> None:
    """Guards the tests above: the tree was found and every layer below the tools has files."""
    found = {LAYER[part_of(file)] for file in FILES if file != INIT}
    assert found >= {0, 1, 2, 3}
    assert "torch" in {name.split(".")[0] for name in imports("models/pooling.py")}
