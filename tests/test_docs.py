"""What the documents promise is there: make targets, links, commands, flags, exit codes, versions, both languages."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

REPO = Path(__file__).resolve().parent.parent
PAGES = sorted([*REPO.glob("*.md"), *(REPO / "docs").rglob("*.md")])
README, CHINESE = REPO / "README.md", REPO / "README.zh.md"
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")


def short(page: Path) -> str:
    return str(page.relative_to(REPO))


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, language: str = "bash") -> list[str]:
    """The fenced blocks of a page, comments and blank lines left out."""
    found = re.findall(rf"^```{language}\n(.*?)^```", read(page), re.MULTILINE | re.DOTALL)
    return ["\n".join(line for raw in block.splitlines() if (line := _bare(raw))) for block in found]


def _bare(line: str) -> str:
    return re.sub(r"(^|\s+)#.*", "", line).rstrip()


def commands(page: Path) -> Iterator[list[str]]:
    """The words of each `tutelage …` line in the shell blocks, without the first."""
    for block in blocks(page):
        for line in block.splitlines():
            if line.startswith("tutelage "):
                yield shlex.split(line)[1:]


def anchors(page: Path) -> set[str]:
    """What the headings of a page are called in links, as Git hosts make them."""
    titles = re.findall(
        r"^#+ +(.*)$", re.sub(r"^```.*?^```", "", read(page), flags=re.MULTILINE | re.DOTALL), re.MULTILINE
    )
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=short)
def test_links_within_the_repository_resolve(page: Path):
    broken = []
    for link in LINK.findall(read(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists():
            broken.append(f"{link}: there is no {target}")
        elif anchor and anchor not in anchors(target):
            broken.append(f"{link}: no such heading, there are {sorted(anchors(target))}")
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize("page", PAGES, ids=short)
def test_make_targets_in_the_documents_exist(page: Path):
    targets = set(re.findall(r"^([a-z-]+):", read(REPO / "Makefile"), re.MULTILINE))
    text = "\n".join([*blocks(page), *re.findall(r"`(make [^`]+)`", read(page))])
    named = set(re.findall(r"^make ([a-z-]+)", text, re.MULTILINE))
    assert named <= targets, f"not in the Makefile: {sorted(named - targets)}"


def test_the_first_screen_holds_two_commands():
    assert blocks(README)[0].splitlines() == ["make demo", "make test"]


@pytest.mark.parametrize("page", [README, CHINESE], ids=short)
def test_commands_and_flags_in_the_examples_exist(page: Path):
    from tutelage.cli import _help, _verbs

    wrong, seen = [], 0
    for words in commands(page):
        name, seen = words[0], seen + 1
        if name not in _verbs.names():
            wrong.append(f"there is no `tutelage {name}`")
            continue
        table = _verbs.subverbs(name)
        if table is not None and words[1] not in table:
            wrong.append(f"there is no `tutelage {name} {words[1]}`")
            continue
        help_page = _help.page(_verbs.load(name, words[1] if table else None), width=120).replace("--[no-]", "--")
        known = set(re.findall(r"--[a-z][a-z0-9-]*", help_page))
        wrong += [f"`tutelage {name}` has no {flag}" for flag in words if flag[:2] == "--" and flag not in known]
    assert seen >= 10
    assert not wrong, "\n".join(wrong)


def test_every_verb_is_documented():
    from tutelage import registry
    from tutelage.cli import _verbs

    pages = {README: read(README), CHINESE: read(CHINESE)}
    own = [name for name in registry.names("cli") if name != "main"]
    missing = [
        f"{short(page)}: `tutelage {name}`"
        for page, text in pages.items()
        for name in own
        if f"tutelage {name}" not in text
    ]
    page = read(REPO / "docs" / "cli.md")
    missing += [f"docs/cli.md: tutelage {name}" for name in _verbs.names() if f"## tutelage {name}" not in page]
    assert not missing, "\n".join(missing)


@pytest.mark.parametrize("page", [README, CHINESE], ids=short)
def test_every_exit_code_is_documented(page: Path):
    from tutelage.cli._endings import EXIT_CODES

    documented = {int(code) for code in re.findall(r"(?<=\| )(\d+)(?= \|)", read(page))}
    assert documented == set(EXIT_CODES)


def test_both_readmes_show_the_same_commands_and_headings():
    assert blocks(README) == blocks(CHINESE)
    assert blocks(README, "python") == blocks(CHINESE, "python")
    levels = [[len(marks) for marks in re.findall(r"^(#+) ", read(page), re.MULTILINE)] for page in (README, CHINESE)]
    assert levels[0] == levels[1]


@pytest.mark.parametrize("page", [README, CHINESE], ids=short)
def test_python_examples_compile_and_use_public_names(page: Path):
    import tutelage

    for block in blocks(page, "python"):
        compile(block, str(page), "exec")
        assert set(re.findall(r"\btt\.(\w+)", block)) <= set(dir(tutelage))


def test_changelog_and_package_agree_on_the_version():
    import tutelage

    assert re.search(rf"^## {re.escape(tutelage.__version__)}\b", read(REPO / "CHANGELOG.md"), re.MULTILINE)


def test_decisions_are_numbered_without_gaps():
    files = sorted((REPO / "docs" / "decisions").glob("*.md"))
    assert [file.name[:4] for file in files] == [f"{number:04}" for number in range(1, len(files) + 1)]
    assert all(read(file).startswith(f"# {file.name[:4]} · ") for file in files)


def test_constraints_pin_every_dependency_within_its_bounds():
    pins = dict(line.split("==") for line in read(REPO / "constraints.txt").splitlines() if "==" in line)
    pinned = {_plain(name): Version(version) for name, version in pins.items()}
    project = tomllib.loads(read(REPO / "pyproject.toml"))["project"]
    wanted = [
        *project["dependencies"],
        *(item for extra in project["optional-dependencies"].values() for item in extra),
    ]
    for requirement in map(Requirement, wanted):
        version = pinned.get(_plain(requirement.name))
        assert version is not None, f"constraints.txt does not pin {requirement.name}"
        assert version in requirement.specifier, f"{requirement} does not admit the pinned {version}"
        assert version.local is None, f"{requirement.name}=={version}: other machines cannot find a local version"


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_code_quoted_beside_equations_stands_in_its_file():
    page = REPO / "docs" / "algorithms.md"
    rows = re.findall(r"^\|[^|]*\| `([^`]+)` \| \[[^\]]*\]\(([^)]+)\) \|$", read(page), re.MULTILINE)
    assert len(rows) >= 15
    assert not [f"{file}: {code}" for code, file in rows if code not in read(page.parent / file)]


def test_the_defaults_told_of_algorithms_are_the_defaults():
    from tutelage import registry
    from tutelage.cli import _verbs
    from tutelage.config import describe

    sections = dict(
        re.findall(r"^## ([\w-]+)\n(.*?)(?=^## |\Z)", read(REPO / "docs/algorithms.md"), re.MULTILINE | re.DOTALL)
    )
    assert sorted(sections) == registry.names("algorithms")
    for name, section in sections.items():
        told = dict(re.findall(r"^\| `(\w+)` \| (\S+) \| [^|]*\|$", section, re.MULTILINE))
        real = {field.name: str(field.default) for field in describe(_verbs.load(name, None).config)}
        assert told and told == {key: real.get(key) for key in told}, name


def test_the_tour_counts_the_lines_of_the_spine():
    page = REPO / "docs" / "tour.md"
    told = re.findall(r"^\| \[[^\]]+\]\(([^)]+\.py)\) \| (\d+) \|", read(page), re.MULTILINE)
    real = {file: len(read(page.parent / file).splitlines()) for file, _ in told}
    assert len(told) >= 6
    assert not {file: real[file] for file, count in told if abs(real[file] - int(count)) > 0.1 * int(count)}
