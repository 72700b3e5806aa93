"""What `tutelage doctor --data` looks at: the rows; with a model the stop token, with a reward its sign."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tutelage.cli._checks import Finding
from tutelage.errors import TutelageError
from tutelage.types import Demonstration, Preference, Prompt, Sample, plain

_READ = 64
"""rows that a model or a reward is tried on"""
_CHANCE = 1.5
"""half-widths: three standard errors of a share near one half are 1.5/√n"""
_LONG = 0.6
"""|correlation| of a reward with length from which it is told"""


def check_data(path: str, model: str = "", reward: str = "") -> list[Finding]:
    """Findings about a data file; with a model or a reward, about the two together."""
    from tutelage.data.check import check
    from tutelage.data.formats import detect_kind, load

    try:
        kind = detect_kind(path)
        rows: Any = load(path, kind)
        found = [Finding("data", f"{path}: {len(rows)} rows, {kind}"), *_odd(check(rows).warnings)]
        if model:
            found += _rendered(model, rows)
        if reward:
            found += _judged(reward, rows)
    except TutelageError as error:
        what, _, rest = error.what.partition("\n")
        fix = error.fix or (rest and f"tutelage data check {path}") or f"tutelage data check {path}"
        return [Finding("data", what, "problem", fix, error.exit_code)]
    return found


def _odd(warnings: Sequence[str]) -> list[Finding]:
    wrong = ("look swapped", "upside down", "nothing is learned", "labelled good:", "labelled bad:")
    return [
        Finding("data", text, "problem", "mend the file: see docs/checks.md", 65)
        if any(mark in text for mark in wrong)
        else Finding("data", text, "note", "see docs/checks.md")
        for text in warnings
    ]


def _rendered(model: str, rows: Sequence[Any]) -> list[Finding]:
    """The first rows as the model would read them: refused by the template, too long, ended by a trained stop token."""
    from tutelage.data.inspect import sequences
    from tutelage.data.template import Renderer
    from tutelage.models.load import load_policy, load_tokenizer, max_positions

    renderer = Renderer(load_tokenizer(model), max_positions(model) or 0)
    try:
        encoded = [(row, sequence) for row in rows[:_READ] for _, sequence in sequences(renderer, row)]
    except TutelageError as error:
        return [Finding("rows as text", error.what, "problem", error.fix or "", error.exit_code)]
    found = [Finding("rows as text", f"the first {min(_READ, len(rows))} fit the template and the model's positions")]
    ended = [sequence for row, sequence in encoded if isinstance(row, Demonstration) and sequence.learned]
    if not ended:
        return found
    wrong = [sequence for sequence in ended if sequence.tokens[-1] not in renderer.stop_ids or not sequence.mask[-1]]
    if wrong:
        return [*found, Finding("stop token", f"{len(wrong)} answers do not end in it", "problem", "report it", 65)]
    return [*found, _stops(load_policy(model), [sequence.tokens for sequence in ended])]


def _stops(policy: Any, rows: Sequence[list[int]]) -> Finding:
    """How likely the model ends an answer where people ended theirs."""
    import torch

    from tutelage.batches import TokenBatch

    batch = TokenBatch.of([(tokens, [False] * (len(tokens) - 1) + [True]) for tokens in rows])
    with torch.no_grad():
        chance = float(policy.logprobs(batch).logprobs[:, 0].exp().mean())
    found = f"where people stopped, the model stops with probability {chance:.2g}"
    if chance < 0.01:
        fix = "fine before SFT; after it, the stop token was not trained: `tutelage data inspect --model`"
        return Finding("stopping", found, "note", fix)
    return Finding("stopping", found)


def _judged(name: str, rows: Sequence[Any]) -> list[Finding]:
    """Does a reward agree with the pairs, and how far is it only the answer's length."""
    import torch

    pairs = [row for row in rows if isinstance(row, Preference)][:_READ]
    if not pairs:
        return [Finding("reward", "needs pairs to be compared with", "note", "--data PAIRS.jsonl")]
    samples = [
        Sample(str(number), Prompt(str(number), row.prompt, row.meta), plain(answer))
        for number, row in enumerate(pairs)
        for answer in (row.chosen, row.rejected)
    ]
    value = _scored(name, samples)
    if float(value.std(correction=0)) < 1e-6:
        return [Finding("reward", f"{name} gives all answers {float(value[0]):.3g}", "problem", "mend the reward", 65)]
    gaps = value[0::2] - value[1::2]
    right = float(((gaps > 0).float() + 0.5 * (gaps == 0).float()).mean())
    said = f"{name} ranks {right:.0%} of {len(pairs)} pairs as people did"
    found = Finding("reward", said)
    if right < 0.5 - _CHANCE / len(pairs) ** 0.5:
        fix = "the reward's sign is flipped, or chosen and rejected are swapped"
        found = Finding("reward", f"{said}, clearly fewer than by guessing", "problem", fix, 65)
    lengths = torch.tensor([float(len(sample.text)) for sample in samples])
    along = float(torch.corrcoef(torch.stack([value, lengths]))[0, 1]) if float(lengths.std()) > 0 else 0.0
    state = "note" if abs(along) > _LONG else "ok"
    fix = "length alone may be learned: balance the lengths of the pairs, or watch answer/length" * (state == "note")
    return [found, Finding("reward and length", f"correlation {along:+.2f}", state, fix)]


def _scored(name: str, samples: Sequence[Sample]) -> Any:
    """float32 [n]: what the reward says, by the name that `--reward` takes; nothing of it is kept."""
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from tutelage.data.template import Renderer
    from tutelage.labelers._scores import asking
    from tutelage.models.load import load_scorer
    from tutelage.rewards._named import Tools, named
    from tutelage.rewards.learned import Learned

    def learned(path: str, lower: float) -> Any:
        scorer = load_scorer(path, head="trained")
        return Learned(scorer, Renderer(scorer.tokenizer), lower=lower)

    with TemporaryDirectory() as folder:
        return named(name, Tools(learned, asking(print), Path(folder), print)).score(samples).value.float()
