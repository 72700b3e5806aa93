"""The house rules that a machine can check: floors, no rings, sizes, light rooms, documents, nothing dangerous."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
from collections.abc import Iterator, Set
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src"
FILES = sorted((SOURCE / "tutelage").rglob("*.py"))

FLOORS = [
    ["cli"],
    ["flow", "api"],
    ["rounds"],
    ["build"],
    ["toolbox"],
    ["train"],
    ["algorithms", "eval", "labelers", "web", "envs"],
    ["sampling", "rewards", "store", "statistics"],
    ["models"],  # above data: loading a tokenizer mends it by the rules of data/template (docs/decisions/0006)
    ["data"],
    ["batches", "config", "registry", "judge"],
    ["ops", "types", "errors"],
]
"""From the roof to the ground: a room imports only from floors below its own, or from itself."""

LIGHT = re.compile(
    r"tutelage(\.(types|errors|registry|config|_convert|store(\..*)?|statistics(\..*)?|web(\..*)?|cli(\..*)?"
    r"|data\.(jsonl|formats|parquet|template|inspect|sources(\..*)?)|labelers\.(_base|simulated|judged)))?"
)
"""Modules that must start at once: they import no torch, not even through others."""

HEAVY = {"torch", "peft", "accelerate", "tensorboard"}
FORBIDDEN_IMPORTS = {"pickle", "cPickle", "shelve", "marshal", "dill", "cloudpickle", "joblib"}
FORBIDDEN_CALLS = {
    "eval", "exec", "torch.load", "torch.save", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "os.system",
    "os.popen",
}  # fmt: skip
FORBIDDEN_FLAGS = {"shell", "trust_remote_code", "allow_pickle"}
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "tools", "lib"}


@cache
def parse(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), filename=str(file))


def short(file: Path) -> str:
    return str(file.relative_to(SOURCE))


def module_of(file: Path) -> str:
    parts = file.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(file): file for file in FILES}


def room_of(module: str) -> str:
    """`tutelage.data.jsonl` → `data`; a private file beside a room belongs to it (see ROOMS_OF_PRIVATE_FILES)."""
    room = module.split(".")[1] if "." in module else ""
    return ROOMS_OF_PRIVATE_FILES.get(room, room)


ROOMS_OF_PRIVATE_FILES = {"_convert": "config", "_http": "judge", "_classical": "build", "__main__": "cli"}


def floor_of(room: str) -> int:
    return next(number for number, rooms in enumerate(reversed(FLOORS)) if room in rooms)


def imports(file: Path, *, at_start_only: bool) -> Iterator[tuple[int, str]]:
    """(line, module) of each import; with `at_start_only`, those that run when the file itself is imported."""
    for node in _walk(parse(file), at_start_only):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(file, node)
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield node.lineno, inner if inner in MODULES else base


def _walk(tree: ast.AST, at_start_only: bool) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        later = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        typing_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if at_start_only and (later or typing_only):
            continue
        yield node
        yield from _walk(node, at_start_only)


def _absolute(file: Path, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    package = module_of(file).split(".")
    keep = len(package) - node.level + (file.name == "__init__.py")
    return ".".join([*package[:keep], *([node.module] if node.module else [])])


def functions(file: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(parse(file)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_every_room_has_a_floor():
    rooms = {room_of(module) for module in MODULES} - {""}
    known = {room for rooms in FLOORS for room in rooms}
    assert rooms <= known, f"give these a floor in FLOORS (and in docs/tour.md): {sorted(rooms - known)}"


def test_imports_go_downwards_only():
    wrong = []
    for module, file in MODULES.items():
        if not (room := room_of(module)):
            continue
        for line, target in imports(file, at_start_only=False):
            other = room_of(target) if target.startswith("tutelage.") else ""
            if other and other != room and floor_of(other) >= floor_of(room):
                wrong.append(f"{short(file)}:{line}: {room} (floor {floor_of(room)}) imports {target}")
    assert not wrong, "\n".join(wrong)


def test_no_ring_of_imports():
    graph = {
        module: {target for _, target in imports(file, at_start_only=True) if target in MODULES and target != module}
        for module, file in MODULES.items()
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


def test_light_rooms_reach_no_torch_through_their_imports():
    wrong = [
        f"{' → '.join(path)}"
        for module in sorted(MODULES)
        if LIGHT.fullmatch(module)
        for path in [_way_to(HEAVY | {"safetensors.torch"}, module)]
        if path
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("module", ["tutelage.build", "tutelage.cli._train"])
def test_training_starts_without_what_only_a_database_or_a_classical_reward_needs(module: str):
    path = _way_to({"sqlalchemy", "alembic", "scipy", "sklearn", "starlette"}, module)
    assert not path, " → ".join(path)


def _way_to(heavy: Set[str], start: str) -> list[str]:
    """The first chain of imports from `start` to one of these packages, breadth first; empty if there is none."""
    queue, seen = [[start]], {start}
    while queue:
        path = queue.pop(0)
        for _, target in imports(MODULES[path[-1]], at_start_only=True):
            if target.partition(".")[0] in heavy or target in heavy:
                return [*path, target]
            parents = [target.rsplit(".", count)[0] for count in range(target.count(".") + 1)]
            for step in parents:
                if step in MODULES and step not in seen:
                    seen.add(step)
                    queue.append([*path, step])
    return []


def test_light_rooms_really_load_no_torch():
    light = [module for module in sorted(MODULES) if LIGHT.fullmatch(module) and "migrations" not in module]
    program = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    if 'torch' in sys.modules:\n"
        "        sys.exit(f'{name} loads torch')\n"
    )
    result = subprocess.run([sys.executable, "-c", program, *light], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("file", FILES, ids=short)
def test_file_is_small_and_says_what_it_is(file: Path):
    text = file.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400, f"{short(file)}: {len(text.splitlines())} lines, 400 at most; split it"
    if not text.strip():
        return
    assert ast.get_docstring(parse(file)), f"{short(file)}: begin with one sentence that says what it is"
    if file.name != "__init__.py":
        assert "from __future__ import annotations" in text, f"{short(file)}: from __future__ import annotations"


def test_functions_fit_on_a_screen():
    long = [
        f"{short(file)}:{node.lineno}: {node.name} has {length} lines, 60 at most"
        for file in FILES
        for node in functions(file)
        if (length := (node.end_lineno or node.lineno) - node.lineno + 1) > 60
    ]
    assert not long, "\n".join(long)


def test_public_names_are_documented():
    """Functions, classes and methods.

    Not: one-line methods, overloads, properties, methods that implement a documented one, classes and functions that
    their file's docstring describes, and `Config`, whose fields are documented one by one.
    """
    inherited = {
        method.name
        for file in FILES
        for owner in ast.walk(parse(file))
        if isinstance(owner, ast.ClassDef)
        for method in owner.body
        if isinstance(method, ast.FunctionDef) and ast.get_docstring(method)
    }
    bare = []
    for file in FILES:
        about = ast.get_docstring(parse(file)) or ""
        for node in _public(parse(file)):
            if not ast.get_docstring(node) and node.name != "Config" and not re.search(rf"\b{node.name}\b", about):
                bare.append(f"{short(file)}:{node.lineno}: {node.name}")
            bare += [
                f"{short(file)}:{method.lineno}: {node.name}.{method.name}"
                for method in (_public(node) if isinstance(node, ast.ClassDef) else [])
                if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef)
                and method.name not in inherited
                and len(method.body) > 1
                and not ast.get_docstring(method)
            ]
    assert not bare, "no docstring:\n" + "\n".join(bare)


def _public(tree: ast.Module | ast.ClassDef) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or node.name[0] == "_":
            continue
        if not any(ast.unparse(decorator).endswith(("overload", "property")) for decorator in node.decorator_list):
            yield node


def test_nothing_dangerous_is_called():
    wrong = []
    for file in FILES:
        wrong += [
            f"{short(file)}:{line}: import {target}"
            for line, target in imports(file, at_start_only=False)
            if target.partition(".")[0] in FORBIDDEN_IMPORTS
        ]
        for node in ast.walk(parse(file)):
            if isinstance(node, ast.Call):
                wrong += [f"{short(file)}:{node.lineno}: {fault}" for fault in _faults(node)]
    assert not wrong, "\n".join(wrong)


def _faults(call: ast.Call) -> Iterator[str]:
    if (name := ast.unparse(call.func)) in FORBIDDEN_CALLS:
        yield f"{name}()"
    for keyword in call.keywords:
        if keyword.arg in FORBIDDEN_FLAGS and ast.unparse(keyword.value) != "False":
            yield f"{keyword.arg}={ast.unparse(keyword.value)}"


def test_errors_are_caught_by_name():
    bare = [
        f"{short(file)}:{node.lineno}"
        for file in FILES
        for node in ast.walk(parse(file))
        if isinstance(node, ast.ExceptHandler) and node.type is None
    ]
    assert not bare, f"except without a name: {bare}"


def test_files_are_nouns_of_the_domain_and_finished():
    vague = [short(file) for file in FILES if file.stem.strip("_") in VAGUE_NAMES or file.parent.name in VAGUE_NAMES]
    unfinished = [
        f"{short(file)}:{number}"
        for file in FILES
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1)
        if re.search(r"#.*\b(TODO|FIXME|XXX)\b", line)
    ]
    assert not vague and not unfinished, f"vague names: {vague}; unfinished: {unfinished}"
