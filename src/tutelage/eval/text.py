"""Text metrics for English and Chinese: ROUGE, BLEU, chrF, distinct-n, self-BLEU, length and stop rate (no torch)."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Hashable, Sequence

from tutelage.eval._base import Measure, bootstrap_mean, wilson

_HAN = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
_KANA = r"\u3040-\u30ff"
_TOKEN = re.compile(rf"[{_HAN}{_KANA}]|[^\W_{_HAN}{_KANA}]+")
_HAN_LETTER = re.compile(rf"[{_HAN}]")
_WORD = re.compile(rf"[^\W\d_{_HAN}]+")
_ROUGE = ("rouge1", "rouge2", "rougeL")


def language(text: str) -> str:
    """`zh` where at least half of the words are Chinese characters, else `en` (any spaced script)."""
    han = len(_HAN_LETTER.findall(text))
    return "zh" if han and han >= len(_WORD.findall(text)) else "en"


def tokens(text: str) -> list[str]:
    """Lower-case words; every Chinese or Japanese character is a word of its own."""
    return _TOKEN.findall(text.lower())


def rouge(answers: Sequence[str], references: Sequence[str]) -> dict[str, list[float]]:
    """F1 of ROUGE-1, -2 and -L of each answer, 0–1, on `tokens` (Lin 2004; `rouge-score` with our tokenizer)."""
    from rouge_score.rouge_scorer import RougeScorer  # a second of imports, and only answers with references need it

    scorer = RougeScorer(list(_ROUGE), tokenizer=_Tokenizer())
    rows = [scorer.score(reference, answer) for answer, reference in zip(answers, references, strict=True)]
    return {name: [float(row[name].fmeasure) for row in rows] for name in _ROUGE}


def bleu(answers: Sequence[str], references: Sequence[str], lang: str) -> float:
    """Corpus BLEU of one language, 0–100 (sacrebleu; `zh` cuts Chinese into characters, others use `13a`)."""
    from sacrebleu.metrics.bleu import BLEU

    metric = BLEU(tokenize="zh" if lang == "zh" else "13a")
    return float(metric.corpus_score(list(answers), [list(references)]).score)


def chrf(answers: Sequence[str], references: Sequence[str]) -> float:
    """Corpus chrF2, 0–100 (Popović 2015; sacrebleu), for any language."""
    from sacrebleu.metrics.chrf import CHRF

    return float(CHRF().corpus_score(list(answers), [list(references)]).score)


def distinct(answers: Sequence[str], n: int) -> float:
    """Different n-grams per n-gram over all answers, 0–1 (Li et al. 2016); 0 when no answer has n words."""
    grams: Counter[tuple[str, ...]] = Counter()
    for answer in answers:
        grams.update(_ngrams(tokens(answer), n))
    return len(grams) / grams.total() if grams else 0.0


def self_bleu(answers: Sequence[str], most: int = 500) -> float:
    """Mean BLEU-4 of each answer against all the others, 0–100; high = all alike (Zhu et al. 2018, Texygen).

    The same numbers as sacrebleu's sentence BLEU (effective order, exponential smoothing) on `tokens`, but every
    n-gram is counted once for all. Only the first `most` answers are compared; 0 for fewer than two.
    """
    rows = [row for answer in answers[:most] if (row := tokens(answer))]
    if len(rows) < 2:
        return 0.0
    grams = [[Counter(_ngrams(row, n)) for n in range(1, 5)] for row in rows]
    best = [_two_largest([counts[n] for counts in grams]) for n in range(4)]
    lengths = [len(row) for row in rows]
    return sum(_bleu_against_rest(i, grams[i], best, lengths) for i in range(len(rows))) / len(rows)


def measures(
    answers: Sequence[str],
    *,
    languages: Sequence[str],
    finishes: Sequence[str],
    references: Sequence[str] | None = None,
    clusters: Sequence[Hashable] | None = None,
) -> dict[str, Measure]:
    """Every text metric of a model's answers; BLEU, self-BLEU and length also per language (`bleu/zh`).

    Raises:
        ValueError: no answers, or columns of different lengths.
    """
    columns = (languages, finishes, references or answers, clusters or answers)
    if not answers or any(len(column) != len(answers) for column in columns):
        raise ValueError(f"{len(answers)} answers, with columns of {[len(column) for column in columns]} rows")
    sizes = [len(tokens(answer)) for answer in answers]
    stopped = sum(finish == "stop" for finish in finishes)
    out = {
        "length": bootstrap_mean(sizes, clusters, how="words (Chinese: characters) per answer"),
        "stop_rate": Measure(stopped / len(answers), *wilson(stopped, len(answers)), len(answers), _STOP),
        "distinct_1": Measure(distinct(answers, 1), n=len(answers), how="different words per word"),
        "distinct_2": Measure(distinct(answers, 2), n=len(answers), how="different word pairs per word pair"),
        "empty": Measure(sizes.count(0) / len(answers), n=len(answers), how="answers without a single word"),
    }
    groups = {lang: [i for i, one in enumerate(languages) if one == lang] for lang in sorted(set(languages))}
    alike = {lang: self_bleu([answers[i] for i in rows]) for lang, rows in groups.items()}
    out |= _by_language("self_bleu", alike, groups, "BLEU-4 of each answer against the others, 0–100; high = alike")
    for lang, rows in groups.items():
        out[f"length/{lang}"] = bootstrap_mean([sizes[i] for i in rows], how="words (Chinese: characters)")
    if references is not None:
        out |= _against(answers, references, groups, clusters)
    return out


_STOP = "answers that the model ended itself; Wilson"


def _against(
    answers: Sequence[str],
    references: Sequence[str],
    groups: dict[str, list[int]],
    clusters: Sequence[Hashable] | None,
) -> dict[str, Measure]:
    out = {
        name: bootstrap_mean(values, clusters, how="F1 against the reference, 0–1; Chinese by character")
        for name, values in rouge(answers, references).items()
    }
    pick = {lang: ([answers[i] for i in rows], [references[i] for i in rows]) for lang, rows in groups.items()}
    scores = {lang: bleu(mine, theirs, lang) for lang, (mine, theirs) in pick.items()}
    out |= _by_language("bleu", scores, groups, "sacrebleu, 0–100; zh or 13a tokenisation")
    out["chrf"] = Measure(chrf(answers, references), n=len(answers), how="sacrebleu chrF2, 0–100")
    return out


def _by_language(name: str, values: dict[str, float], groups: dict[str, list[int]], how: str) -> dict[str, Measure]:
    total = sum(len(rows) for rows in groups.values())
    mean = sum(values[lang] * len(rows) for lang, rows in groups.items()) / total
    out = {name: Measure(mean, n=total, how=f"{how}; mean over languages by their size")}
    return out | {f"{name}/{lang}": Measure(values[lang], n=len(rows), how=how) for lang, rows in groups.items()}


def _ngrams(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


_Best = dict[tuple[str, ...], tuple[int, int, int]]


def _two_largest(rows: Sequence[Counter[tuple[str, ...]]]) -> _Best:
    """n-gram → (largest count, whose row it is, largest count among the other rows)."""
    best: _Best = {}
    for index, counts in enumerate(rows):
        for gram, count in counts.items():
            first, owner, second = best.get(gram, (0, -1, 0))
            best[gram] = (count, index, first) if count > first else (first, owner, max(second, count))
    return best


def _bleu_against_rest(
    index: int, grams: Sequence[Counter[tuple[str, ...]]], best: Sequence[_Best], lengths: Sequence[int]
) -> float:
    logs: list[float] = []
    smooth, matched = 1.0, 0
    for counts, largest in zip(grams, best, strict=True):
        if not counts:
            break  # effective order: an answer of three words has no 4-grams
        right = 0
        for gram, count in counts.items():
            first, owner, second = largest[gram]
            right += min(count, second if owner == index else first)
        matched += right
        if right == 0:
            smooth *= 2
        logs.append(math.log(right / counts.total() if right else 1 / (smooth * counts.total())))
    if not matched:
        return 0.0
    closest = min((abs(size - lengths[index]), size) for other, size in enumerate(lengths) if other != index)[1]
    brevity = min(0.0, 1 - closest / lengths[index])
    return 100 * math.exp(brevity + sum(logs) / len(logs))


class _Tokenizer:
    """What `rouge_score` wants: an object with `tokenize`."""

    def tokenize(self, text: str) -> list[str]:
        return tokens(text)
