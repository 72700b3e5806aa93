"""Loading: a folder or hub id becomes a Policy or a Scorer, checked so that what is computed is what the model says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from tutelage.batches import TokenBatch
from tutelage.data.template import Renderer, fix_tokenizer
from tutelage.errors import DataError, DivergedError, MissingInputError, ServiceError, TutelageError, UsageError
from tutelage.models import lora as adapters
from tutelage.models._hub import reach
from tutelage.models.attention import plug_in
from tutelage.models.heads import Heads
from tutelage.models.lora import LoRA
from tutelage.models.new import hush
from tutelage.models.policy import Engine, Policy, Scorer
from tutelage.ops import native

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_SMALL = 8_000_000
_NEAR = 0.05
"""How far the logits of a few tokens in bfloat16 may lie from those in float32, as a share of the latter's spread."""
_DROPOUTS = (
    "attention_dropout",
    "attn_pdrop",
    "embd_pdrop",
    "resid_pdrop",
    "hidden_dropout",
    "dropout",
    "summary_first_dropout",
)


def pick_device(device: str) -> torch.device:
    """`auto` is the accelerator where there is one, else the CPU.

    Raises:
        UsageError: there is no such device here.
    """
    if device != "auto":
        try:
            return torch.empty(0, device=device).device
        except (RuntimeError, AssertionError) as error:
            raise UsageError(
                f"device '{device}' cannot be used: {_first_line(error)}", fix="--device auto, or cpu"
            ) from error
    return (
        torch.accelerator.current_accelerator() or torch.device("cpu")
        if torch.accelerator.is_available()
        else torch.device("cpu")
    )


def pick_dtype(dtype: str, device: torch.device, parameters: int = 0) -> torch.dtype:
    """The dtype of matrix products; `auto` is bfloat16 on an accelerator, and on a CPU that multiplies it by itself.

    Not for models of fewer than _SMALL parameters: there matrix products are a small part of the time.
    """
    if dtype == "auto":
        if device.type == "cpu" and (parameters < _SMALL or not native.multiplies_bfloat16()):
            return torch.float32
        return torch.bfloat16
    if dtype not in _DTYPES:
        raise UsageError(f"dtype '{dtype}' is not known", fix=f"one of: auto, {', '.join(_DTYPES)}")
    return _DTYPES[dtype]


def load_tokenizer(path: str) -> Any:
    """The tokenizer of a model folder or hub id, with a pad token that is not its stop token."""
    tokenizer = _tokenizer(path)
    fix_tokenizer(tokenizer, grow=True)
    return tokenizer


def _tokenizer(path: str) -> Any:
    from transformers import AutoTokenizer

    return _fetch(path, lambda: AutoTokenizer.from_pretrained(path, **reach(looks_local(path))), "tokenizer")


def looks_local(path: str) -> bool:
    """Whether a model's name can only be a folder here, so that no hub need be asked (and waited for).

    Example:
        >>> looks_local("./policy"), looks_local("runs/ppo/model"), looks_local("Qwen/Qwen3-0.6B")
        (True, True, False)
    """
    folder = Path(path)
    beside = folder.parent != Path() and folder.parent.is_dir()  # `runs/ppo` where there is a folder `runs`
    return folder.exists() or beside or path.startswith((".", "/", "~")) or path.count("/") != 1


def max_positions(path: str) -> int | None:
    """The longest sequence that a model can read, from its config.json alone; None where that does not say."""
    from transformers import AutoConfig

    if not (Path(path) / "config.json").is_file():  # an adapter, or a hub id: seen once it is loaded
        return None
    config = _fetch(path, lambda: AutoConfig.from_pretrained(path))
    return getattr(config, "max_position_embeddings", None)


def load_policy(
    path: str,
    *,
    dtype: str = "auto",
    device: str = "auto",
    lora: LoRA | None = None,
    seed: int = 0,
    engine: Engine = "auto",
) -> Policy:
    """A causal LM from a folder or hub id; an adapter folder is loaded with its base and folded in.

    Raises:
        MissingInputError: no such folder. ServiceError: a hub id, and no hub. DataError: a folder that is no model.
    """
    from transformers import AutoModelForCausalLM

    where = pick_device(device)
    tokenizer = _tokenizer(path)
    model, notes, grown = _prepare(_load(AutoModelForCausalLM, path, dtype=torch.float32), tokenizer)
    wanted = _stock_logits(model)
    plug_in(model)
    if lora is not None:
        model = adapters.add_adapter(model, lora, "CAUSAL_LM", seed)
    policy = Policy(model, tokenizer, path, pick_dtype(dtype, where, _size(model, engine))).eval()
    policy.notes, policy.derived = notes, grown or adapters.is_adapter(Path(path))
    policy.eos_ids = stop_ids(policy.core, tokenizer)
    policy.to(where)
    policy.choose(engine)
    _verify(policy, wanted[0], lambda hidden: policy.head(hidden.float()), sure=dtype != "auto")
    return policy


def load_scorer(
    path: str,
    *,
    dtype: str = "auto",
    device: str = "auto",
    lora: LoRA | None = None,
    head: str = "keep",
    seed: int = 0,
    heads: Heads | None = None,
    single: bool = False,
    engine: Engine = "auto",
) -> Scorer:
    """A sequence classifier; from a causal LM folder its body is taken and a head is added.

    Args:
        head: `keep` the folder's own (a causal LM has none: then `normal`), `normal` N(0, 1/√(d+1)) as in
            Stiennon et al. 2020, `zero` (a critic that begins by expecting nothing), or `trained`: the folder must have
            one.
        seed: of the head's random numbers.
        heads: what labels there shall be; as the folder has them, or one, if None. Others than the folder's start anew.
        single: join the folder's heads to one label that says their sum (exactly: they are linear), for a critic.

    Raises:
        DataError: `trained`, and the folder holds a causal LM.
    """
    from transformers import AutoModelForSequenceClassification

    where = pick_device(device)
    tokenizer = _tokenizer(path)
    kept = Heads.read(path) or Heads()
    model = _load(AutoModelForSequenceClassification, path, dtype=torch.float32, num_labels=kept.labels)
    if not hasattr(model, "score"):
        raise UsageError(f"{type(model).__name__} has no scoring head of the usual kind", where=path)
    fresh = not _is_classifier(path)
    if single:
        kept = _join_heads(model, kept)
    if heads is not None:
        fresh = fresh or not heads.same_labels(kept)
        kept = _set_labels(model, heads)
    if fresh and head == "trained":
        raise DataError(
            "this is a language model, not a reward model: it has no trained score",
            where=path,
            fix="name what `tutelage reward` made (RUN/model), or any sequence classifier with one label",
        )
    _initialise(model.score.weight, "normal" if head == "keep" and fresh else head, seed)
    model, notes, grown = _prepare(model, tokenizer)
    wanted = _stock_logits(model)
    plug_in(model)
    if lora is not None:
        model = adapters.add_adapter(model, lora, "SEQ_CLS", seed)
    scorer = Scorer(model, tokenizer, path, pick_dtype(dtype, where, _size(model, engine))).eval().to(where)
    scorer.notes, scorer.derived, scorer.heads = notes, grown or adapters.is_adapter(Path(path)), kept
    scorer.choose(engine)
    _verify(scorer, wanted, lambda hidden: scorer.head(hidden[-1:].float()), sure=dtype != "auto")
    return scorer


def _size(model: Any, engine: Engine) -> int:
    """Parameters, as far as they speak for bfloat16: the plain engine stays with float32 on a CPU."""
    return 0 if engine == "plain" else sum(parameter.numel() for parameter in model.parameters())


def _set_labels(model: Any, heads: Heads) -> Heads:
    """Give a classifier other labels; their weights are still to be set."""
    if model.score.weight.shape[0] != heads.labels:
        model.score = torch.nn.Linear(model.score.weight.shape[1], heads.labels, bias=False)
        model.config.num_labels = model.num_labels = heads.labels
    return heads


@torch.no_grad()
def _join_heads(model: Any, heads: Heads) -> Heads:
    """Several heads as one that says what they say together: they are linear, and so is their sum."""
    joined = heads.weights() @ model.score.weight
    one = _set_labels(model, Heads())
    model.score.weight.copy_(joined[None])
    return one


def stop_ids(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """Every token that ends an answer: those that training teaches first, then those of the generation config."""
    generation = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    listed = generation if isinstance(generation, list) else [generation]
    return tuple(dict.fromkeys(int(token) for token in [*Renderer(tokenizer).stop_ids, *listed] if token is not None))


def _load(model_class: Any, path: str, **options: Any) -> Any:
    hush()
    folder = Path(path)
    if folder.is_dir() and adapters.is_adapter(folder):
        return _fetch(path, lambda: adapters.merged(model_class, folder, use_safetensors=True, **options))
    options |= reach(looks_local(path))
    return _fetch(path, lambda: model_class.from_pretrained(path, use_safetensors=True, **options))


def _fetch(path: str, load: Callable[[], Any], part: str = "model") -> Any:
    folder = Path(path)
    if not path:
        raise UsageError("no model was named", fix="--model FOLDER_OR_HUB_ID")
    local = looks_local(path)
    if local and not folder.is_dir():
        raise MissingInputError(
            f"there is no model folder '{path}'",
            fix="check the path; the folder must hold config.json (an id of the hub is OWNER/NAME)",
        )
    if local and not ((folder / "config.json").is_file() or adapters.is_adapter(folder)):
        model = folder / "model"
        inside = (model / "config.json").is_file() or adapters.is_adapter(model)
        fix = f"a run keeps its model in a folder of its own: {model}" if inside else "name the folder that holds it"
        raise DataError("this folder holds no model: config.json is missing", where=path, fix=fix)
    try:
        return load()
    except TutelageError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        if not local:
            raise ServiceError(
                f"'{path}' is not a folder here and could not be fetched from the hub ({_first_line(error)})",
                fix="check the name and the network, or give a local folder",
            ) from error
        raise DataError(
            f"the {part} cannot be loaded: {_first_line(error)}",
            where=path,
            fix=f"check that the {part}'s files are there and whole; copy or download them again",
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(": ")


def _is_classifier(path: str) -> bool:
    from transformers import AutoConfig

    folder = Path(path)
    if folder.is_dir() and adapters.is_adapter(folder):
        return adapters.task(folder) == "SEQ_CLS"
    architectures = AutoConfig.from_pretrained(path, **reach(looks_local(path))).architectures or [""]
    return "SequenceClassification" in architectures[0]


def _initialise(weight: Tensor, head: str, seed: int) -> None:
    with torch.no_grad():
        if head == "zero":
            weight.zero_()
        elif head == "normal":
            generator = torch.Generator().manual_seed(seed)
            noise = torch.randn(weight.shape, generator=generator)
            weight.copy_(noise / (weight.shape[-1] + 1) ** 0.5)


def _prepare(model: Any, tokenizer: Any) -> tuple[Any, list[str], bool]:
    """Switch dropout off and give the tokenizer what it lacks; also says what was changed, and if the weights were."""
    asked = [f"{name} {rate:g}" for name in _DROPOUTS if (rate := getattr(model.config, name, None))]
    for name in _DROPOUTS:
        if getattr(model.config, name, None):
            setattr(model.config, name, 0.0)
    _refuse_poison(model)
    for part in model.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
        for name, rate in list(vars(part).items()):
            if "drop" in name and isinstance(rate, float):  # a rate that a layer applies itself, as OPT's do
                setattr(part, name, 0.0)
    rows = model.get_input_embeddings().weight.shape[0]
    if (needed := _rows_for(tokenizer)) > rows:
        raise DataError(
            f"the tokenizer's ids go up to {needed - 1} but the model embeds {rows}",
            where=model.config.name_or_path,
            fix="use the tokenizer that the model was trained with",
        )
    notes = fix_tokenizer(tokenizer, rows=rows, grow=True)
    notes += [f"dropout is off, though config.json asks for {', '.join(asked)}"] if asked else []
    grown = (needed := _rows_for(tokenizer)) > rows
    if grown:
        model.resize_token_embeddings(needed, mean_resizing=False)
        notes.append(f"the embedding grew from {rows} to {needed} rows for it")
    model.config.pad_token_id = tokenizer.pad_token_id
    return model.eval(), notes, grown


def _rows_for(tokenizer: Any) -> int:
    """Rows that an embedding must have: ids may leave gaps, and the loops in C++ would read beyond the last row."""
    return max(len(tokenizer), 1 + max(tokenizer.get_vocab().values()))


def _refuse_poison(model: Any) -> None:
    """
    Raises:
        DataError: a weight is NaN or infinite; training would spread it to all others.
    """
    for name, weight in model.named_parameters():
        if not bool(weight.isfinite().all()):
            bad = int((~weight.isfinite()).sum())
            raise DataError(
                f"{bad} of {weight.numel()} numbers of {name} are not finite (NaN or infinite)",
                where=model.config.name_or_path,
                fix="the file is damaged, or training had diverged when it was saved: take an earlier checkpoint",
            )


def _probe(model: Any) -> Tensor:
    rows = model.get_input_embeddings().weight.shape[0]
    pad = model.config.pad_token_id
    return torch.tensor([token for token in range(min(9, rows)) if token != pad])


@torch.no_grad()
def _stock_logits(model: Any) -> Tensor:
    """What the untouched model, with its own attention, says of a few tokens."""
    return model(input_ids=_probe(model)[None], use_cache=False).logits.float()


@torch.no_grad()
def _verify(backbone: Policy | Scorer, wanted: Tensor, head: Callable[[Tensor], Tensor], *, sure: bool = True) -> None:
    """Packed beside another sequence, the probe must get its stock logits; else this architecture is not for us.

    In bfloat16, unless that was asked for (`sure`), it must come near them; else products stay float32, which is said.
    """
    ids = _probe(backbone.core).tolist()
    row = (ids, [False] * len(ids))
    chosen, backbone.compute_dtype = backbone.compute_dtype, torch.float32

    def gap() -> float:
        with backbone.autocast():
            hidden = backbone.hidden(TokenBatch.of([row, row]))[len(ids) :]
        return float((head(hidden).float().cpu() - wanted).abs().max())

    worst = gap()
    backbone.forget_copies()  # float32 ones: as large as the weights, and training may never ask for them
    if not worst <= 1e-3 * max(1.0, float(wanted.abs().max())):
        raise DivergedError(
            f"packed and stock forward of {type(backbone.core).__name__} differ by {worst:.3g}",
            where=backbone.name,
            fix="this architecture scales its logits or mixes tokens in a way that tutelage does not know yet",
        )
    if chosen == torch.float32 or sure:
        backbone.compute_dtype = chosen
        return
    backbone.compute_dtype, spread = chosen, max(float(wanted.abs().max()), 1e-3)
    if gap() <= _NEAR * spread:
        backbone.notes.append("matrix products in bfloat16, all else in float32 (--dtype float32: those too)")
    else:
        backbone.compute_dtype = torch.float32
        backbone.notes.append("matrix products in float32: bfloat16 changes its logits too much")
