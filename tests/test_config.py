"""Configuration: where values come from, what is refused, and that what is printed can be read again."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest

from tutelage.config import Resolved, describe, resolve
from tutelage.errors import MissingInputError, UsageError


@dataclass(frozen=True)
class Optim:
    lr: float = 1e-4
    """step size"""
    betas: tuple[float, float] = (0.9, 0.999)


@dataclass(frozen=True)
class Stage:
    name: str = ""
    steps: int = 1


@dataclass(frozen=True, kw_only=True)
class Base:
    model: str = ""
    """Folder
    or hub id."""
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Config(Base):
    seed: int = 7
    """of everything"""
    data: Path = Path("rows.jsonl")
    dtype: Literal["auto", "float32"] = "auto"
    lora: bool = False
    limit: int | None = None
    targets: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    weights: dict[str, float] = field(default_factory=dict)
    stages: tuple[Stage, ...] = ()
    anything: Any = None
    optim: Optim = Optim()
    positional: ClassVar[str] = "data"

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError("seed must not be negative")


@dataclass(frozen=True)
class Needy:
    model: str
    """folder or hub id"""


def from_yaml(tmp_path: Path, text: str, **options: Any) -> Resolved[Config]:
    file = tmp_path / "c.yaml"
    file.write_text(text, encoding="utf-8")
    return resolve(Config, yaml_file=file, **options)


def test_later_layers_win_and_every_value_knows_its_origin(tmp_path: Path):
    found = from_yaml(
        tmp_path,
        "# comment\nmodel: llama\nseed: 3\noptim:\n  lr: 1e-3\n",
        sets=["optim.betas=0.8,0.9"],
        flags={"seed": "4"},
        defaults={"limit": 5, "model": "other"},
    )
    assert (found.config.model, found.config.seed, found.config.optim) == ("llama", 4, Optim(1e-3, (0.8, 0.9)))
    assert found.config.limit == 5
    assert found.origins["model"] == f"{tmp_path}/c.yaml:2"
    assert found.origins["optim.lr"] == f"{tmp_path}/c.yaml:5"
    assert found.origins["optim.betas"] == "--set"
    assert found.origins["seed"] == "flag --seed"
    assert found.origins["dtype"] == found.origins["limit"] == "default"
    assert found.given("seed") and not found.given("dtype")


def test_every_type_is_read_from_yaml(tmp_path: Path):
    found = from_yaml(
        tmp_path,
        "model: 123\ndata: a b.jsonl\nlora: yes\nlimit: null\ntargets: [q, v]\nfiles: [x, y]\n"
        "weights: {a-b: 1, c: 2e0}\n"
        "stages:\n  - name: 甲\n    steps: 1e3\n  - {name: b}\nanything: [1, 2.5, true, '3', no-thing]\n",
    ).config
    assert found.model == "123" and found.data == Path("a b.jsonl") and found.lora is True and found.limit is None
    assert found.targets == ("q", "v") and found.files == (Path("x"), Path("y"))
    assert found.weights == {"a-b": 1.0, "c": 2.0}
    assert found.stages == (Stage("甲", 1000), Stage("b"))
    assert found.anything == [1, 2.5, True, "3", "no-thing"]


def test_every_type_is_read_from_flags_and_set():
    found = resolve(
        Config,
        sets=["targets=[a, b]", "weights={x: 1}", "lora=true"],
        flags={"files": ["a,b"], "limit": "10", "stages": "[{name: s}]"},
    ).config
    assert found.targets == ("a", "b") and found.weights == {"x": 1.0} and found.lora is True
    assert found.files == (Path("a,b"),) and found.limit == 10 and found.stages == (Stage("s"),)
    assert resolve(Config, flags={"targets": ["a,b"]}).config.targets == ("a", "b")
    assert resolve(Config, flags={"targets": ["a,b", "c"]}).config.targets == ("a,b", "c")


def test_python_values_are_taken_as_they_are():
    found = resolve(Config, flags={"optim.lr": 0.5, "lora": True, "data": Path("x"), "stages": [{"name": "s"}]}).config
    assert found.optim.lr == 0.5 and found.lora and found.data == Path("x") and found.stages == (Stage("s"),)


def test_what_is_printed_reads_back_to_the_same_configuration(tmp_path: Path):
    flags = {"weights": {"a: b": 0.1}, "model": "yes", "anything": "07", "targets": ["#x", "北", "1"], "seed": 1}
    first = resolve(Config, flags=flags, sets=["optim.lr=1e-07", "stages=[{name: z}]"])
    printed = first.to_yaml()
    assert "  # flag --model" in printed and "  # --set" in printed and "  # default" in printed
    again = from_yaml(tmp_path, printed)
    assert again.config == first.config


@pytest.mark.parametrize(
    ("text", "place", "said", "fix"),
    [
        ("seed: 1\nmodle: x\n", "c.yaml:2:1", "unknown key 'modle'", "did you mean 'model'?"),
        ("optim:\n  lx: 1\n", "c.yaml:2:3", "unknown key 'optim.lx'", "did you mean 'optim.lr'?"),
        ("zzzzzz: 1\n", "c.yaml:1:1", "unknown key 'zzzzzz'", "choices: model, seed"),
        ("seed: 1\nseed: 2\n", "c.yaml:2:1", "'seed' is given twice", ""),
        ("seed: 1.5\n", "c.yaml:1:7", "'1.5' is not a whole number", ""),
        ("seed: '1'\n", "c.yaml:1:7", "'1' is not a whole number", ""),
        ("optim: 3\n", "c.yaml:1:8", "'optim' is a group of settings", "optim.lr"),
        ("dtype: flaot32\n", "c.yaml:1:8", "'flaot32' is not one of its choices", "did you mean 'float32'?"),
        ("lora: maybe\n", "c.yaml:1:7", "'maybe' is neither true nor false", "true or false"),
        ("optim: {lr: fast}\n", "c.yaml:1:13", "'fast' is not a number", ""),
        ("optim: {lr: .nan}\n", "c.yaml:1:13", "is not a number", ""),
        ("optim: {betas: [1]}\n", "c.yaml:1:16", "expected 2 values, found 1", ""),
        ("stages: [{nam: a}]\n", "c.yaml:1:11", "unknown key 'nam'", "did you mean 'name'?"),
        ("model: null\n", "c.yaml:1:8", "None is not text", ""),
        ("model: [\n", "c.yaml:2:1", "not valid YAML", ""),
        ("a: &x 1\nb: *x\n", "c.yaml:2:4", "aliases", ""),
        ("model: !!python/name:os.system x\n", "c.yaml:1:8", "tags", ""),
        ("- 1\n", "c.yaml:1:1", "a configuration is a mapping", ""),
        ("seed: -1\n", "the settings of Config", "seed must not be negative", ""),
        ("max_steps: 1\n", "c.yaml:1:1", "unknown key 'max_steps'", ""),
    ],
)
def test_a_wrong_yaml_file_is_refused_with_its_place(tmp_path: Path, text: str, place: str, said: str, fix: str):
    with pytest.raises(UsageError) as caught:
        from_yaml(tmp_path, text)
    assert said in str(caught.value) and place in str(caught.value) and fix in str(caught.value)


def test_all_problems_are_told_at_once(tmp_path: Path):
    with pytest.raises(UsageError, match="3 problems") as caught:
        from_yaml(tmp_path, "modle: x\nseed: x\nlora: 3\n")
    assert all(word in str(caught.value) for word in ("modle", "seed", "lora", ":1:1", ":2:7", ":3:7"))


def test_the_default_of_a_group_may_differ_from_its_class():
    @dataclass(frozen=True)
    class Outer:
        optim: Optim = Optim(lr=5.0)

    Outer.__annotations__["optim"] = Optim
    assert resolve(Outer).config == Outer()
    found = resolve(Outer, flags={"optim.betas": "0.1,0.2"})
    assert found.config.optim == Optim(5.0, (0.1, 0.2)) and "lr: 5.0  # default" in found.to_yaml()


def test_a_missing_setting_names_its_flag():
    with pytest.raises(UsageError, match="'model' is missing: folder or hub id") as caught:
        resolve(Needy)
    assert caught.value.fix == "--model …"


def test_names_that_trl_users_know_are_understood(tmp_path: Path):
    found = from_yaml(tmp_path, "model_name_or_path: m\ndataset-name: d.jsonl\n")
    assert (found.config.model, found.config.data) == ("m", Path("d.jsonl"))
    with pytest.raises(UsageError, match="given twice"):
        from_yaml(tmp_path, "model_name_or_path: m\nmodel: m\n")


def test_the_same_key_twice_on_the_command_line_is_refused():
    with pytest.raises(UsageError, match="given twice"):
        resolve(Config, sets=["seed=1"], flags={"seed": "2"})
    with pytest.raises(UsageError, match="expected KEY=VALUE"):
        resolve(Config, sets=["seed"])


def test_a_missing_or_unreadable_file_is_told_as_such(tmp_path: Path):
    with pytest.raises(MissingInputError, match="no configuration file"):
        resolve(Config, yaml_file=tmp_path / "none.yaml")
    with pytest.raises(UsageError, match="folder"):
        resolve(Config, yaml_file=tmp_path)
    (tmp_path / "latin.yaml").write_bytes("model: é".encode("latin-1"))
    with pytest.raises(UsageError, match="UTF-8"):
        resolve(Config, yaml_file=tmp_path / "latin.yaml")


def test_an_empty_file_changes_nothing(tmp_path: Path):
    assert from_yaml(tmp_path, "# nothing\n").config == Config()


def test_describe_knows_help_texts_owners_and_defaults():
    fields = {item.name: item for item in describe(Config)}
    assert fields["model"].help == "Folder or hub id." and fields["model"].owner is Base
    assert fields["seed"].help == "of everything" and fields["seed"].owner is Config and fields["seed"].default == 7
    assert fields["optim.lr"].help == "step size" and fields["optim.lr"].flag == "--optim.lr"
    assert "positional" not in fields and "optim" not in fields
    assert describe(Needy)[0].required
