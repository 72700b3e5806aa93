"""The help pages of the training verbs without importing torch: kept beside this file, as long as they are true.

`python -m tutelage.cli._docs` writes `_train_help.json` from the settings themselves, with a fingerprint of their
source. Where it differs (somebody is writing an algorithm) the page is made from the settings, as for any verb.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from tutelage import registry
from tutelage.cli._help import Outline, outline
from tutelage.cli._verb import Verb

KEPT = Path(__file__).with_name("_train_help.json")
_ROOT = Path(__file__).parent.parent
_CHOICES = re.compile(r"^\w+ = Literal\[.*?\]", re.DOTALL | re.MULTILINE)
"""names for sets of words, which settings take from the rooms below"""


def kept(name: str) -> Outline | None:
    """The page of an algorithm; None if none is kept, or the settings' source is another than it was made from."""
    try:
        found = json.loads(KEPT.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if name not in found["pages"] or found["fingerprint"] != fingerprint():
        return None
    page = found["pages"][name]
    groups = tuple((title, tuple((left, text) for left, text in group)) for title, group in page["groups"])
    return Outline(page["usage"], page["summary"], tuple(page["positional"]), groups, page["aliases"])


def written() -> str:
    """What `_train_help.json` shall hold (imports every algorithm)."""
    from tutelage.cli import _train

    pages = {
        name: asdict(
            outline(Verb(name, _train.config_of(name), _train.runner(name), registry.summary("algorithms", name)))
        )
        for name in registry.names("algorithms")
    }
    told = {"fingerprint": fingerprint(), "pages": pages}
    return json.dumps(told, ensure_ascii=False, indent=0) + "\n"


def fingerprint() -> str:
    """Changes with every setting's name, type, default, help or class, and with a file's name and first line."""
    digest = hashlib.sha256()
    for path in sorted((_ROOT / "algorithms").glob("*.py")):
        digest.update(path.name.encode())
        for part in _settings(ast.parse(path.read_text(encoding="utf-8"))):
            digest.update(part.encode())
    for path in [*sorted((_ROOT / "ops").glob("*.py")), *(_ROOT / place for place in _FORMS)]:
        digest.update("".join(_CHOICES.findall(path.read_text(encoding="utf-8"))).encode())
    for place in _FORMS:
        digest.update((_ROOT / place).read_bytes())
    return digest.hexdigest()[:16]


_FORMS = ("cli/_help.py", "cli/_verb.py", "config.py")
"""what makes a page of settings"""


def _settings(module: ast.Module) -> Iterator[str]:
    """The module's docstring and its constants; of each class its bases, fields and the texts under them."""
    yield ast.get_docstring(module) or ""
    for node in module.body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            yield ast.dump(node)
        if isinstance(node, ast.ClassDef):
            yield f"{node.name}({', '.join(map(ast.dump, node.bases))})"
            fields = [one for one in node.body if isinstance(one, ast.Assign | ast.AnnAssign | ast.Expr)]
            yield from map(ast.dump, fields)
