"""Configuration: one dataclass per command, filled from defaults, YAML, `--set` and flags; each value knows its origin.

class defaults ‹ `defaults` of the caller ‹ YAML file ‹ `--set` and flags; later wins, lists are replaced whole.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import functools
import inspect
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar, get_type_hints

import yaml

from tutelage._convert import Given, UnfitError, convert, from_python, from_yaml, plain
from tutelage.errors import MissingInputError, UsageError

C = TypeVar("C")

ALIASES = {
    "model_name_or_path": "model",
    "sft_model_path": "model",
    "reward_model_path": "reward",
    "dataset_name": "data",
    "dataset_path": "data",
    "output_dir": "out",
    "max_steps": "steps",
    "num_train_epochs": "epochs",
    "per_device_train_batch_size": "batch_size",
    "lr": "learning_rate",
    "lr_scheduler_type": "schedule",
    "kl_coef": "kl",
    "cliprange": "clip",
    "cliprange_value": "value_clip",
    "vf_coef": "value_coef",
    "num_ppo_epochs": "updates",
    "num_mini_batches": "minibatches",
    "missing_eos_penalty": "missing_stop_penalty",
    "num_generations": "answers",
    "loss_type": "loss",
    "simpo_gamma": "gamma",
    "warmup_ratio": "warmup",
    "max_seq_length": "max_length",
    "max_completion_length": "max_new_tokens",
    "response_length": "max_new_tokens",
    "adam_epsilon": "adam_eps",
    "torch_dtype": "dtype",
    "use_peft": "lora",
    "lora_r": "lora_rank",
    "lora_target_modules": "lora_targets",
    "save_steps": "save_every",
    "save_total_limit": "keep",
    "logging_steps": "log_every",
    "eval_steps": "eval_every",
}
"""Names that users of TRL know → ours; taken wherever the command has ours and not theirs."""


REFUSED = {
    "top_p": "training samples from the whole distribution: cutting its tail off makes the ratio and the KL wrong",
    "top_k": "training samples from the whole distribution: cutting its tail off makes the ratio and the KL wrong",
    "min_p": "training samples from the whole distribution: cutting its tail off makes the ratio and the KL wrong",
    "repetition_penalty": "training samples from the model itself: changed logits make the ratio and the KL wrong",
    "lora_dropout": "dropout is off everywhere: with it the ratio is not 1 before the first update",
    "dropout": "dropout is off everywhere: with it the ratio is not 1 before the first update",
    "pad_token": "the pad token is never the end token here, and chosen by itself",
    "truncation_mode": "rows are never cut: what is too long is refused, or left out with --on-bad skip",
    "max_prompt_length": "rows are never cut: what exceeds --max-length is refused, or left out with --on-bad skip",
    "gradient_accumulation_steps": "--batch-size is the whole batch of an optimiser step; parts are cut by themselves",
}
"""What users of other trainers ask for and cannot have where the command has no such setting, and why."""


@dataclasses.dataclass(frozen=True)
class Field:
    """What there is to know of one setting without importing anything heavy."""

    name: str
    """dotted: `optim.learning_rate`"""
    kind: Any
    """its type, annotations resolved"""
    help: str
    """the string literal under the field"""
    default: Any
    """`dataclasses.MISSING` when it must be given"""
    owner: type
    """the class that declares it, for grouping in `--help`"""

    @property
    def flag(self) -> str:
        """Its name on the command line; `from_` is `--from`, a word that Python keeps for itself."""
        return "--" + self.name.rstrip("_").replace("_", "-")

    @property
    def required(self) -> bool:
        return self.default is dataclasses.MISSING


@dataclasses.dataclass(frozen=True)
class Resolved(Generic[C]):
    """A configuration and where each of its values came from.

    Example:
        >>> resolved = resolve(Config, yaml_file=Path("ppo.yaml"), flags={"steps": "10"})
        >>> resolved.config.steps, resolved.origins["steps"], resolved.origins["batch_size"]
        (10, 'flag --steps', 'ppo.yaml:3')
    """

    config: C
    origins: Mapping[str, str]
    """dotted key → `default`, `flag --x`, `--set` or `FILE.yaml:LINE`"""

    def given(self, key: str) -> bool:
        """Whether anyone asked for this value (it is not a default)."""
        return self.origins[key] != "default"

    def to_dict(self) -> dict[str, Any]:
        """The values as nested dicts, lists, strings, numbers and None: fit for JSON and YAML."""
        return plain(self.config)

    def to_yaml(self) -> str:
        """The values as YAML that `resolve` reads back to the same configuration, each with its origin as a comment."""
        return "\n".join(self._lines(self.to_dict(), "")) + "\n"

    def _lines(self, values: Mapping[str, Any], prefix: str) -> Iterator[str]:
        indent = "  " * prefix.count(".")
        for key, value in values.items():
            name = prefix + key
            if name in self.origins:
                text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6, sort_keys=False)
                line = f"{indent}{key}: {text.removesuffix(chr(10)).removesuffix(chr(10) + '...')}"
                yield f"{line}  # {self.origins[name]}"
            else:
                yield f"{indent}{key}:"
                yield from self._lines(value, name + ".")


def resolve(
    cls: type[C],
    *,
    yaml_file: Path | None = None,
    sets: Sequence[str] = (),
    flags: Mapping[str, object] | None = None,
    defaults: Mapping[str, object] | None = None,
) -> Resolved[C]:
    """Fill the dataclass `cls`.

    Args:
        cls: a (frozen) dataclass; fields may be nested dataclasses, reached by dots.
        yaml_file: keys as in `cls`; `-` and `_` are the same, TRL's names are taken too.
        sets: `dotted.key=value`, as `--set` gives them.
        flags: dotted key → string as typed, or a Python value; only those that were given.
        defaults: like `flags`, but weakest: what a caller or recipe prefers to the class's own defaults.

    Raises:
        UsageError: unknown, duplicate, missing or unfit keys, all of them at once, each with its place.
        MissingInputError: no such YAML file.
    """
    fields = {field.name: field for field in describe(cls)}
    problems: list[UsageError] = []
    given: dict[str, Given] = {}
    for layer in (_preset(defaults or {}), _yaml_layer(yaml_file), _command_line(sets, flags or {})):
        seen: dict[str, Given] = {}
        for path, value in _leaves(fields, layer, "", problems):
            if path in seen:
                problems.append(UsageError(f"'{path}' is given twice", where=f"{seen[path].where} and {value.where}"))
            seen[path] = value
        given.update(seen)
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for name, field in fields.items():
        if name in given:
            origins[name] = given[name].origin
            try:
                values[name] = convert(field.kind, given[name])
            except UnfitError as error:
                problems.append(UsageError(f"'{name}': {error.what}", where=error.where, fix=error.fix))
        elif field.required:
            problems.append(
                UsageError(f"'{name}' is missing: {field.help or 'it has no default'}", fix=f"{field.flag} …")
            )
        else:
            origins[name] = "default"
            if "." in name:  # the outer default may differ from the inner class's own
                values[name] = field.default
    _refuse(problems)
    return Resolved(_build(cls, values, ""), origins)


@functools.cache
def describe(cls: type) -> tuple[Field, ...]:
    """The settings of a dataclass in order of declaration, nested ones in place with dotted names.

    Raises:
        TypeError: `cls` is not a dataclass, or its annotations cannot be resolved at run time.
    """
    kinds = get_type_hints(cls)
    found: list[Field] = []
    for field in dataclasses.fields(cls):
        if not field.init:
            continue
        kind = kinds[field.name]
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        if _nested(kind):
            found += [_within(field.name, inner, default) for inner in describe(kind)]
            continue
        owner = _owner(cls, field.name)
        found.append(Field(field.name, kind, _help_texts(owner).get(field.name, ""), default, owner))
    return tuple(found)


def suggest(word: str, choices: Sequence[str]) -> str | None:
    """'did you mean …?' for a mistyped word, or None when nothing is near."""
    near = difflib.get_close_matches(word, choices, n=1)
    if not near:
        last = {choice.rpartition(".")[2]: choice for choice in reversed(choices)}
        near = [last[name] for name in difflib.get_close_matches(word.rpartition(".")[2], list(last), n=1)]
    return f"did you mean '{near[0]}'?" if near else None


def _within(outer: str, inner: Field, default: Any) -> Field:
    if default is not dataclasses.MISSING:
        default = functools.reduce(getattr, inner.name.split("."), default)
    else:
        default = inner.default
    return dataclasses.replace(inner, name=f"{outer}.{inner.name}", default=default)


def _nested(kind: Any) -> bool:
    return isinstance(kind, type) and dataclasses.is_dataclass(kind)


def _owner(cls: type, name: str) -> type:
    for base in cls.__mro__:
        if name in vars(base).get("__annotations__", {}):
            return base
    return cls


@functools.cache
def _help_texts(cls: type) -> Mapping[str, str]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError, SyntaxError):
        return {}  # built at run time: its settings work, they only have no help text
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    texts: dict[str, str] = {}
    for first, second in zip(body, body[1:], strict=False):
        if isinstance(first, ast.AnnAssign) and isinstance(first.target, ast.Name) and isinstance(second, ast.Expr):
            value = second.value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                texts[first.target.id] = " ".join(inspect.cleandoc(value.value).split())
    return texts


def _preset(values: Mapping[str, object]) -> dict[str, Given]:
    return {key: from_python(value, "default", "the defaults of this command") for key, value in values.items()}


def _yaml_layer(path: Path | None) -> dict[str, Given]:
    if path is None:
        return {}
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise MissingInputError(f"there is no configuration file '{path}'", fix="give an existing YAML file") from error
    except IsADirectoryError as error:
        raise UsageError(f"'{path}' is a folder, not a YAML file") from error
    except UnicodeDecodeError as error:
        raise UsageError("the configuration is not UTF-8", where=str(path), fix="save it as UTF-8") from error
    root = from_yaml(text, str(path))
    if root.value is None:
        return {}
    if not isinstance(root.value, dict):
        raise UsageError("a configuration is a mapping of `key: value` lines", where=root.where)
    return root.value


def _command_line(sets: Sequence[str], flags: Mapping[str, object]) -> dict[str, Given]:
    layer: dict[str, Given] = {}
    for item in sets:
        key, equals, text = item.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"--set {item}: expected KEY=VALUE", fix="--set learning_rate=1e-5")
        name = key.strip().replace("-", "_")
        if name in layer:
            raise UsageError(f"--set gives '{name}' twice")
        layer[name] = Given(text, f"--set {item}", "--set", key=f"--set {item}")
    for key, value in flags.items():
        flag = "--" + key.replace("_", "-")
        if key in layer:
            raise UsageError(f"'{key}' is given twice", where=f"{flag} and --set {key}=…", fix="keep one of them")
        layer[key] = from_python(value, f"flag {flag}", flag)
    return layer


def _leaves(
    fields: Mapping[str, Field], layer: Mapping[str, Given], prefix: str, problems: list[UsageError]
) -> Iterator[tuple[str, Given]]:
    """The dotted settings of a layer; keys that are none become problems."""
    for key, value in layer.items():
        path = prefix + key.replace("-", "_")
        if path not in fields and (alias := ALIASES.get(path)) in fields:
            path = str(alias)
        if path in fields:
            yield path, value
        elif any(name.startswith(path + ".") for name in fields):
            if isinstance(value.value, dict):
                yield from _leaves(fields, value.value, path + ".", problems)
            else:
                inner = [name for name in fields if name.startswith(path + ".")]
                problems.append(
                    UsageError(f"'{path}' is a group of settings", where=value.where, fix=f"such as {inner[0]}")
                )
        else:
            hint = REFUSED.get(path) or suggest(path, list(fields)) or "choices: " + ", ".join(fields)
            problems.append(UsageError(f"unknown key '{path}'", where=value.key, fix=hint))


def _refuse(problems: Sequence[UsageError]) -> None:
    if len(problems) == 1:
        raise problems[0]
    if problems:
        listed = "\n".join("- " + str(problem).replace("\n", "\n  ") for problem in problems[:20])
        raise UsageError(f"{len(problems)} problems in the configuration:\n{listed}")


def _build(cls: type[C], values: Mapping[str, Any], prefix: str) -> C:
    arguments: dict[str, Any] = {}
    kinds = get_type_hints(cls)
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        path = prefix + field.name
        if path in values:
            arguments[field.name] = values[path]
        elif field.init and _nested(kinds[field.name]) and any(name.startswith(path + ".") for name in values):
            arguments[field.name] = _build(kinds[field.name], values, path + ".")
    try:
        return cls(**arguments)
    except UsageError:
        raise
    except ValueError as error:
        raise UsageError(str(error), where=f"the settings of {cls.__name__}") from error
