"""Imports between the packages point down only, as CONTRIBUTING.md describes."""

import ast
import graphlib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "mrcnn"

# Package or module of `mrcnn` -> those that it may import, anywhere in its files. The module
# "detection.results" uses NumPy only; its class `Detections` is what `evaluation` measures.
ALLOWED = {
    "startup": "",
    "files": "startup",
    "geometry": "startup",
    "value_types": "",
    "config_rules": "files value_types",
    "config": "config_rules files geometry startup",
    "checkpoints": "config config_rules files startup",
    "layers": "checkpoints config_rules geometry startup",
    "graphs": "checkpoints config config_rules geometry layers",
    "engines": "__init__ files geometry graphs layers startup",
    "datasets": "files geometry startup",
    "detection.results": "files geometry",
    "evaluation": "datasets detection.results drawing files geometry startup",
    "loading": "config files geometry startup",
    "refinement": "checkpoints engines files geometry startup value_types",
    "drawing": "files geometry startup",
    "detection": (
        "checkpoints config config_rules datasets detection.results drawing engines files geometry "
        "graphs layers refinement startup value_types"
    ),
    "exports": (
        "__init__ checkpoints config detection engines files geometry graphs layers model startup"
    ),
    "training": (
        "checkpoints config config_rules datasets drawing evaluation files geometry graphs layers "
        "loading startup value_types"
    ),
    "utils": "evaluation geometry startup",
    "visualize": "drawing evaluation geometry",
    "parallel_model": "startup training",
    "model": (
        "checkpoints detection detection.results files geometry graphs layers loading startup "
        "training utils"
    ),
    "model_training": "checkpoints config datasets family files loading model startup training",
    "family": (
        "__init__ checkpoints config config_rules datasets detection detection.results evaluation "
        "files geometry layers loading model startup training"
    ),
    "scaling": "checkpoints datasets detection detection.results exports family files startup",
    "service": "__init__ datasets detection drawing files refinement startup",
    "cli": (
        "__init__ checkpoints config datasets detection detection.results drawing evaluation "
        "exports family files loading model model_training refinement scaling service startup "
        "training"
    ),
    "__init__": "loading startup",
    "__main__": "cli",
}
WITHOUT_KERAS = (
    "config",
    "config_rules",
    "datasets",
    "evaluation",
    "files",
    "geometry",
    "value_types",
)
DEEP_LEARNING = {"keras", "tensorflow", "torch", "jax", "openvino"}


def place(module):
    """`detection` for "mrcnn.detection.detector"; `__init__` for names of "mrcnn" itself."""
    inner = module.split(".")[1:]
    if ".".join(inner[:2]) in ALLOWED:
        return ".".join(inner[:2])
    return inner[0] if inner and inner[0] in ALLOWED else "__init__"


def is_for_types(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def imports(node, package):
    """Yield the line and the absolute name of each import, also inside functions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((child.lineno, alias.name) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            parts = package[: len(package) - child.level + 1] if child.level else []
            module = ".".join([*parts, *([child.module] if child.module else [])])
            # Of `from mrcnn.detection import results`, the name may be a module.
            yield from ((child.lineno, f"{module}.{alias.name}") for alias in child.names)
        elif is_for_types(child):
            yield from (line for other in child.orelse for line in imports(other, package))
        else:
            yield from imports(child, package)


@pytest.fixture(scope="module")
def edges():
    """File and line, importing place, imported module, of every import in the package."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for line, module in imports(tree, parts[:-1]):
            file = "/".join(parts) + f".py:{line}"
            found.append((file, place(".".join(parts)), module))
    return found


def test_the_table_has_no_circle():
    order = list(graphlib.TopologicalSorter({a: b.split() for a, b in ALLOWED.items()
                                             if a != "__init__"}).static_order())  # fmt: skip
    assert order.index("geometry") < order.index("layers") < order.index("graphs")
    assert order.index("graphs") < order.index("engines") < order.index("detection")
    assert order.index("detection") < order.index("model") < order.index("cli")


def test_every_place_is_in_the_table():
    names = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or
             (path / "__init__.py").is_file()}  # fmt: skip
    assert names == {name for name in ALLOWED if "." not in name}


def test_imports_point_down(edges):
    wrong = [
        f"{file} imports {module}"
        for file, importer, module in edges
        if module.split(".")[0] == "mrcnn"
        and place(module) != importer
        and place(module) not in ALLOWED[importer].split()
    ]
    assert wrong == []


def test_packages_without_deep_learning(edges):
    wrong = [
        f"{file} imports {module}"
        for file, importer, module in edges
        if importer in WITHOUT_KERAS and module.split(".")[0] in DEEP_LEARNING
    ]
    assert wrong == []
    assert any(module == "keras.layers" for _, _, module in edges)  # they are found elsewhere
