"""How much memory and time exports take: databases of 10,000 to 1,000,000 judgements, each kind in its own process.

    python benchmarks/exports.py                 # 10,000 and 100,000
    python benchmarks/exports.py --sizes 1000000 --folder /var/tmp/exports
    python benchmarks/exports.py --sizes 1000000 --kinds rated import

A prompt has four answers and five questions (three pairs, a ranking of three, one answer scored), each judged by three
of twenty raters: 18 votes for 15 judgements. Peak memory is what the operating system counted for the whole process;
`grew_mb` is without what the interpreter and the libraries take before the first row. `import` takes a raw export into
an empty database (that alone is measured) and fails unless what this one exports is the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from _speed_pipe import peak_gib

from tutelage.data.formats import rows_of
from tutelage.data.jsonl import Problems
from tutelage.data.writing import Writer
from tutelage.labelers._export import Export, Wanted
from tutelage.store import schema, transfer
from tutelage.store.store import Store
from tutelage.store.stream import cut_of

RUNS = [
    ("preference", "reliability", "jsonl"),
    ("raw", "none", "jsonl"),
    ("per-rater", "none", "jsonl"),
    ("rated", "reliability", "parquet"),
    ("preference", "none", "parquet"),
    ("ranking", "none", "jsonl"),
    ("rated", "none", "jsonl"),
    ("unpaired", "reliability", "jsonl"),
    ("import", "none", "jsonl"),
]
PER_PROMPT = 15
VOTES = 18
RESULTS = Path(__file__).parent / "results" / "exports.json"


def main() -> None:
    """Make each database, export every kind, print a table and keep the numbers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--folder", type=Path, default=Path("runs/exports"))
    parser.add_argument("--kinds", nargs="+", default=sorted({kind for kind, _, _ in RUNS}), help="these only")
    parser.add_argument("--one", nargs=4, metavar=("DB", "KIND", "WEIGHTS", "FORMAT"), help="used by itself")
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(again(asked.one[0]) if asked.one[1] == "import" else one(*asked.one)))
        return
    asked.folder.mkdir(parents=True, exist_ok=True)
    found: list[dict[str, Any]] = json.loads(RESULTS.read_text())["runs"] if RESULTS.exists() else []
    for size in asked.sizes:
        db = asked.folder / f"{size}.db"
        if not db.exists():
            made(db, size)
        for kind, weights, ending in (run for run in RUNS if run[0] in asked.kinds):
            command = [sys.executable, __file__, "--one", str(db), kind, weights, ending]
            told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            same = (size, kind, weights, ending)
            found = [run for run in found if (run["judgements"], run["kind"], run["weights"], run["format"]) != same]
            found.append({"judgements": size, "kind": kind, "weights": weights, "format": ending} | told)
            print(json.dumps(found[-1]), flush=True)
            note = "read --help of the script; seconds on a machine that was busy with other work"
            RESULTS.write_text(json.dumps({"note": note, "runs": found}, indent=1) + "\n")


def one(db: str, kind: str, weights: Any, ending: str) -> dict[str, Any]:
    """One export; its rows, seconds, CPU seconds and memory."""
    out = Path(db).with_suffix(f".{kind}.{ending}")
    with Store(db, create=False) as store:
        cut = cut_of(store.database)
        before = _peak_mib()
        began, used = time.monotonic(), time.process_time()
        with Writer(out) as file:
            rows = transfer.dump(store, "default", cut) if kind == "raw" else _rows(store, cut, kind, weights)
            for row in rows:
                file.add(row)
        seconds, cpu = time.monotonic() - began, time.process_time() - used
    size = out.stat().st_size
    out.unlink()
    return _told(file.rows, size, seconds, cpu, before)


def again(db: str) -> dict[str, Any]:
    """A raw export into an empty database, and whether that holds the same."""
    out, target = Path(db).with_suffix(".again.jsonl"), Path(db).with_suffix(".again")
    target.unlink(missing_ok=True)
    there = raw_file(db, out)
    with Store(target) as store:
        before = _peak_mib()
        began, used = time.monotonic(), time.process_time()
        asked, given = transfer.load(store, (row.data for row in rows_of(out, Problems())), "default")
        seconds, cpu = time.monotonic() - began, time.process_time() - used
    size, peak = out.stat().st_size, _peak_mib()
    if raw_file(str(target), out) != there:
        raise SystemExit(f"{target} exports other rows than {db}")
    out.unlink()
    target.unlink()
    return _told(asked + given, size, seconds, cpu, before, peak)


def raw_file(db: str, out: Path) -> str:
    """The digest of a raw export, written in a process of its own: its memory is another measurement."""
    subprocess.run(
        [sys.executable, "-m", "tutelage", "rate", "export", "--db", db, "--kind", "raw", "--out", str(out), "--quiet"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    with out.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _told(rows: int, size: int, seconds: float, cpu: float, before: float, peak: float = 0.0) -> dict[str, Any]:
    peak = peak or _peak_mib()
    return {
        "rows": rows,
        "file_mb": round(size / 2**20, 1),
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu, 1),
        "rows_per_cpu_second": round(rows / cpu),
        "peak_mb": round(peak, 1),
        "grew_mb": round(peak - before, 1),
    }


def _rows(store: Store, cut: Any, kind: str, weights: Any) -> Iterator[dict[str, Any]]:
    made = Export(store, "default", Wanted(kind, weights), cut)
    return (row for part, row in made.rows() if part == "rows")


def _peak_mib() -> float:
    return peak_gib() * 2**10


def made(db: Path, size: int) -> None:
    """A database of about `size` judgements, written in bulk."""
    draft = db.with_suffix(".making")
    draft.unlink(missing_ok=True)
    with Store(draft) as store:
        tables = (schema.prompts, schema.samples, schema.questions, schema.judgements)
        with store.database.writing() as connection:
            names = [{"id": f"rater-{number}", "kind": "person", "created": 1.0} for number in range(20)]
            connection.execute(sa.insert(schema.raters), names)
            for start in range(0, size // PER_PROMPT, 500):
                pieces: list[list[dict[str, Any]]] = [[], [], [], []]
                for number in range(start, min(start + 500, size // PER_PROMPT)):
                    for rows, more in zip(pieces, prompt(number), strict=True):
                        rows.extend(more)
                for table, rows in zip(tables, pieces, strict=True):
                    connection.execute(sa.insert(table), rows)
    draft.replace(db)


def prompt(number: int) -> tuple[list[dict[str, Any]], ...]:
    """Rows about one prompt: prompts, samples, questions, judgements."""
    chance = random.Random(number)
    name, mine = f"prompt-{number}", {"project": "default"}
    words = " ".join(f"word{chance.randrange(1000)}" for _ in range(60))
    asked = [{**mine, "id": name, "content": [{"role": "user", "content": words}], "meta": {"n": number}}]
    said = [
        {**mine, "id": f"{name}-{j}", "prompt": name, "text": f"{j} {words[::-1]}", "finish": "stop", "model": f"m{j}"}
        | {"seed": 0}
        for j in range(4)
    ]
    posed = [("pair", (0, 1)), ("pair", (1, 2)), ("pair", (2, 3)), ("ranking", (0, 1, 2)), ("scores", (3,))]
    questions: list[dict[str, Any]] = []
    given: list[dict[str, Any]] = []
    for place, (kind, candidates) in enumerate(posed):
        question = f"q-{number}-{place}"
        shape = {"kind": kind, "prompt": name, "candidates": [f"{name}-{j}" for j in candidates], "scale": [0.0, 5.0]}
        aspects = ["overall"] if kind == "scores" else []
        questions.append({**mine, "id": question, **shape, "aspects": aspects, "probability": 1.0, "overlap": 3})
        questions[-1] |= {"created": 1.0, "given": 3, "open": False}
        for rater in chance.sample(range(20), 3):
            order = sorted(candidates, key=lambda j: j + chance.gauss(0, 1 + rater / 5))
            ranks = [] if aspects else [order.index(j) + 1 for j in candidates]
            shown = list(range(len(candidates)))
            chance.shuffle(shown)
            row = {"id": f"j-{question}-{rater}", "question": question, "rater": f"rater-{rater}", "ranks": ranks}
            row |= {"scores": {"overall": float(chance.randrange(6))} if aspects else {}, "shown": shown}
            row |= {"both_bad": False, "strength": chance.randrange(4), "comment": "", "seconds": 8.0, "rubric": "1"}
            given.append(row | {"withdrawn": False, "created": 2.0})
    return asked, said, questions, given


if __name__ == "__main__":
    main()
