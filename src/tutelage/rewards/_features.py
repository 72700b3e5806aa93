"""What a classical reward model sees of an answer: hashed n-grams, length, overlap with its prompt, a model's view.

    (prompt, answer) → [ characters | words | plain ] (+ embeddings) → scaled by what the training rows say → X

Character n-grams need no word boundaries, and every Han character is a word of its own, so Chinese is seen like
English. Hashing needs no vocabulary: an answer that was never seen has features too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Said = tuple[str, str]
"""prompt and answer, as plain text"""
Embed = Callable[[Sequence[Said]], Array]
"""(prompt, answer) … → float [n, H]"""

BUCKETS = 2048
"""columns of each hashed block"""
_CJK = r"\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af"
_TOKEN = re.compile(rf"[^\W\d_{_CJK}]+|\d+(?:[.,]\d+)*|[{_CJK}]")
_HAN = re.compile(f"[{_CJK}]")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_NAME = re.compile(r"(?<=[a-z,;] )[A-Z][A-Za-z'-]+")
_END = re.compile(r"[.!?。！？…][\"'”’」』)]*\s*$")
PLAIN = (
    "length",
    "words",
    "sentences",
    "words in prompt",
    "pairs in prompt",
    "prompt told",
    "numbers in prompt",
    "names not in prompt",
    "numbers",
    "repeated pairs",
    "ends well",
    "begins like the prompt",
    "same script",
    "script share",
    "punctuation",
    "lines",
)
"""The columns of the plain block; `length` alone is the baseline that every fit is compared with."""


@dataclass(frozen=True)
class Blocks:
    """Unscaled features of some answers: block → [n, columns]."""

    parts: Mapping[str, Any]
    """sparse CSR for n-grams, dense float64 for the others"""

    def __len__(self) -> int:
        return int(next(iter(self.parts.values())).shape[0])

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> Blocks:
        """The answers `rows`."""
        return Blocks({name: part[np.asarray(rows, dtype=np.int64)] for name, part in self.parts.items()})

    def only_length(self) -> Blocks:
        """Nothing but the length: the baseline."""
        return Blocks({"plain": self.parts["plain"][:, :1]})


@dataclass(frozen=True)
class Scaling:
    """Means and scales, from training rows only.

    Each plain feature and each embedding column has variance 1 afterwards, embeddings together as much as all plain
    ones; a block of n-grams is scaled as a whole, or a word seen once would outweigh all others. The mean of n-grams
    is left where it is, so that they stay sparse: the intercept takes it up.
    """

    mean: Mapping[str, Array]
    scale: Mapping[str, Array]

    @classmethod
    def of(cls, blocks: Blocks) -> Scaling:
        """What `blocks`, the training rows, say."""
        mean: dict[str, Array] = {}
        scale: dict[str, Array] = {}
        for name, part in blocks.parts.items():
            if not isinstance(part, np.ndarray):
                about = np.asarray(part.mean(0)).ravel()
                spread = float(part.multiply(part).mean(0).sum() - (about**2).sum())
                mean[name] = np.zeros(1)
                scale[name] = np.array([math.sqrt(max(spread, 1e-12) / _TEXT_VARIANCE)])
            else:
                mean[name], std = part.mean(0), part.std(0)
                wide = math.sqrt(max(1.0, part.shape[1] / len(PLAIN))) if name == "embedding" else 1.0
                scale[name] = np.where(std > 1e-12, std, 1.0) * wide
        return cls(mean, scale)

    def __call__(self, blocks: Blocks) -> Any:
        """CSR [n, columns], float64."""
        import scipy.sparse as sp  # 0.2 s that only classical rewards need

        done: list[Any] = []
        for name, part in blocks.parts.items():
            if sp.issparse(part):
                done.append(part / self.scale[name][0])
            else:
                done.append(sp.csr_matrix((part - self.mean[name]) / self.scale[name]))
        return sp.hstack(done, format="csr")

    def variance(self, blocks: Blocks) -> float:
        """The total variance of scaled features: the mean squared distance of two rows is twice that."""
        X = self(blocks)
        about = np.asarray(X.mean(0)).ravel()
        return float(X.multiply(X).mean(0).sum() - (about**2).sum())


_TEXT_VARIANCE = 4.0
"""of a whole block of n-grams, where each plain feature has 1"""


class Reader:
    """Turns (prompt, answer) into features; `embed` adds a model's view."""

    def __init__(self, embed: Embed | None = None) -> None:
        from sklearn.feature_extraction import text

        hashing: Any = text.HashingVectorizer
        shared: dict[str, Any] = {"n_features": BUCKETS, "norm": "l2", "lowercase": True, "dtype": np.float64}
        self._characters = hashing(analyzer="char", ngram_range=(1, 3), **shared)
        self._words = hashing(
            analyzer="word", ngram_range=(1, 2), tokenizer=_TOKEN.findall, token_pattern=None, **shared
        )
        self._embed = embed

    def __call__(self, said: Sequence[Said]) -> Blocks:
        import scipy.sparse as sp

        answers = [answer for _, answer in said]
        parts: dict[str, Any] = {
            "characters": sp.csr_matrix(self._characters.transform(answers)),
            "words": sp.csr_matrix(self._words.transform(answers)),
            "plain": np.array([_plain(prompt, answer) for prompt, answer in said]).reshape(len(said), len(PLAIN)),
        }
        if self._embed is not None:
            parts["embedding"] = self._embed(said)
        return Blocks(parts)


def embedder(path: str, rows_at_once: int = 64) -> Embed:
    """The mean hidden state over an answer's tokens (its stop token too), as the model in `path` reads it.

    Of a text that is longer than the model can read, the end is read.
    """
    import torch

    from tutelage.data.pack import pack
    from tutelage.data.template import Encoded, Renderer
    from tutelage.models.load import load_policy

    policy = load_policy(path)
    renderer, limit = Renderer(policy.tokenizer), policy.max_positions or 2**31

    def read(prompt: str, answer: str) -> Encoded:
        whole = renderer.answer(prompt, answer, may_be_empty=True)
        if len(whole) <= limit:
            return whole
        return Encoded(whole.tokens[-limit:], [False, *whole.mask[1 - limit :]])

    @torch.no_grad()
    def embed(said: Sequence[Said]) -> Array:
        found: list[Any] = []
        for start in range(0, len(said), rows_at_once):
            batch = pack([read(*one) for one in said[start : start + rows_at_once]])
            with policy.autocast():
                hidden = policy.hidden(batch).float().cpu()
            mask, rows = batch.mask.cpu(), batch.rows
            total = torch.zeros(len(batch), hidden.shape[1]).index_add_(0, rows[mask], hidden[mask])
            found.append((total / batch.answer_lengths[:, None].clamp(min=1)).double().numpy())
        return np.concatenate(found)

    return embed


def _plain(prompt: str, answer: str) -> list[float]:
    """The numbers that PLAIN names."""
    asked, told = _TOKEN.findall(prompt.lower()), _TOKEN.findall(answer.lower())
    known, followed = set(asked), set(pairwise(asked))
    pairs, numbers = list(pairwise(told)), _NUMBER.findall(answer)
    mine, its = _script(answer), _script(prompt)
    names = _NAME.findall(answer)
    return [
        math.log1p(len(answer)),
        math.log1p(len(told)),
        float(len(re.findall(r"[.!?。！？]+", answer))),
        _share(told, known),
        _share(pairs, followed),
        _share(list(known), set(told)),
        _share(numbers, set(_NUMBER.findall(prompt))),
        float(sum(name.lower() not in known for name in names)),
        float(len(numbers)),
        1 - len(set(pairs)) / len(pairs) if pairs else 0.0,
        float(bool(_END.search(answer))),
        _share(asked[:12], set(told[:12])),
        1 - abs(mine - its),
        mine,
        len(re.findall(r"[^\w\s]", answer)) / (len(answer) + 1),
        math.log1p(answer.count("\n")),
    ]


def _share(things: Sequence[Any], among: set[Any]) -> float:
    return sum(thing in among for thing in things) / len(things) if things else 0.0


def _script(text: str) -> float:
    """Share of Chinese, Japanese and Korean characters among the letters."""
    letters = sum(character.isalpha() for character in text)
    return len(_HAN.findall(text)) / letters if letters else 0.0
