"""TRL's last PPO (1.9.2) beside `tutelage ppo` and `tutelage rloo`: reward against wall time and against KL.

    python benchmarks/trl_ppo.py --model FOLDER [--out runs/trl_ppo] [--seeds 2] [--set steps=60 …]
    python benchmarks/trl_ppo.py --demo FOLDER --methods trl trl-best ppo ppo-best --seeds 3 --threads 2

--model is a small causal language model that continues stories: all start from its weights, finish the same prompts'
sentence, and are paid by the same Python rule. --demo is the folder of a finished `tutelage demo`: its SFT model, its
prompts, its own taste as the rule. One after another, method by method, seed by seed. TRL lives in an environment of
its own (OUT/trl-venv, made here). A run that is complete is not repeated. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import importlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from _clock import CLOCK
from _speed_peers import tcmalloc
from _trl_report import figure, race, table

HERE = Path(__file__).parent
RESULTS = HERE / "results"
TORCH, PEER = "torch==2.13.0", ("trl==1.9.2", "transformers==5.23.0")
ANSWERS = {"ppo": 1, "rloo": 4}
"""answers to each prompt; the number of answers per step is the same for all"""
METHODS = ("trl", "trl-best", "ppo", "ppo-best", "rloo")
"""`-best`: with tcmalloc and large pages, ours in bfloat16 besides (TRL's PPO refuses it on a CPU)"""
STORY, DEMO = "_story_task", "_demo_task"
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}


def main() -> int:
    """Run what has not been run, then write the rows, the table and the chart."""
    asked = _asked()
    if asked.demo:
        os.environ["DEMO_TASK_DATA"] = str(asked.demo.resolve() / "data")
    task = importlib.import_module(DEMO if asked.demo else STORY)
    settings = dataclasses.replace(task.Settings(), **dict(_pair(word, task) for word in asked.set))
    out = asked.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    start = _start_model(asked.demo / "sft/model" if asked.demo else asked.model, out / "start", task)
    runner = _Runner(task, settings, start, out, asked.trl_venv or out / "trl-venv", asked.threads)
    runs: list[dict[str, Any]] = []
    for seed in range(asked.first_seed, asked.first_seed + asked.seeds):
        for method in asked.methods:
            runs.append(runner.one(method, seed))
            _write(asked, settings, start, runs, task)
    print(table(runs) + "\n\n" + race(runs))
    return 0


def _write(asked: argparse.Namespace, settings: Any, start: Path, runs: list[dict[str, Any]], task: Any) -> None:
    found = {
        "task": task.__doc__.partition("\n")[0],
        "machine": _machine(asked),
        "model": {"name": (asked.demo or asked.model).resolve().name, "sha256": _sha256(start / "model.safetensors")},
        "settings": dataclasses.asdict(settings),
        "runs": runs,
    }
    asked.results.mkdir(parents=True, exist_ok=True)
    name = "trl_ppo-demo" if asked.demo else "trl_ppo"
    (asked.results / f"{name}.json").write_text(_compact(found), encoding="utf-8")
    (asked.results / f"{name}.svg").write_text(figure(runs), encoding="utf-8")


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    start = parser.add_mutually_exclusive_group(required=True)
    start.add_argument("--model", type=Path, help="folder of a small causal language model; the task of stories")
    start.add_argument("--demo", type=Path, help="folder of a finished demo; its task")
    parser.add_argument("--out", type=Path, default=Path("runs/trl_ppo"), help="folder of the runs")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where trl_ppo.json and trl_ppo.svg go")
    parser.add_argument("--seeds", type=int, default=2, help="how many")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--methods", nargs="+", default=["trl", "ppo", "rloo"], choices=METHODS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--trl-venv", type=Path, help="environment of TRL, made if it is not there")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="other settings of the task")
    parser.add_argument("--machine-note", default="quiet", help="what else the machine did, for the record")
    return parser.parse_args()


def _pair(word: str, task: Any) -> tuple[str, Any]:
    name, _, value = word.partition("=")
    return name, type(getattr(task.Settings(), name))(value)


@dataclasses.dataclass
class _Runner:
    """Does one run after another."""

    task: Any
    settings: Any
    start: Path
    out: Path
    venv: Path
    threads: int

    def one(self, method: str, seed: int) -> dict[str, Any]:
        """One run, measured."""
        folder = self.out / f"{method}-{seed}"
        kept = folder / "run.json.done"
        if kept.is_file():
            return json.loads(kept.read_text(encoding="utf-8"))
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        load = os.getloadavg()[0]
        found = self._trl(method, seed, folder) if method.startswith("trl") else self._tutelage(method, seed, folder)
        _clocked(found["rows"], folder / "clock.json", self.settings.batch_size)
        found["load_average"] = [round(load, 2), round(os.getloadavg()[0], 2)]
        final = _measure(found.pop("model"), self.start, self.settings, self.task)
        found |= {"method": method, "seed": seed, "final": final}
        kept.write_text(json.dumps(found), encoding="utf-8")
        return found

    def _trl(self, method: str, seed: int, folder: Path) -> dict[str, Any]:
        """TRL's PPO on the prompts that `tutelage ppo` reads with this seed, in that order, as token ids."""
        from tutelage.data.loader import Order
        from tutelage.data.template import Renderer
        from tutelage.models.load import load_tokenizer

        renderer = Renderer(load_tokenizer(str(self.start)))
        texts, _ = self.task.prompts()
        order = Order(len(texts), self.settings.batch_size, seed)
        asked = [texts[index] for step in range(self.settings.steps) for index in order.indices(step)]
        job = {
            "model": str(self.start), "seed": seed, "stop": _stop_id(renderer.tokenizer, self.task), "texts": asked,
            "prompts": [renderer.prompt(_content(text)) for text in asked], "threads": self.threads,
            "settings": dataclasses.asdict(self.settings), "task": self.task.__name__,
        }  # fmt: skip
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        peer = [str(_environment(self.venv)), str(HERE / "_trl_peer.py"), str(folder / "job.json")]
        used = self._run(peer, folder, method.endswith("-best"))
        found = json.loads((folder / "rows.json").read_text(encoding="utf-8"))
        for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
            shutil.copy(self.start / name, folder / "model" / name)
        return {"rows": found["rows"], "versions": found["versions"], "model": folder / "model", "process": used}

    def _tutelage(self, method: str, seed: int, folder: Path) -> dict[str, Any]:
        """`tutelage METHOD`, with every shared setting that it has."""
        from tutelage import __version__, registry
        from tutelage.algorithms import Algorithm

        name, best = method.removesuffix("-best"), method.endswith("-best")
        kind: Any = registry.find("algorithms", name, Algorithm)
        answers = ANSWERS[name]
        wished = dataclasses.asdict(self.settings) | {
            "model": self.start, "data": _prompt_file(folder, self.task), "out": folder / "run",
            "reward": f"{self.task.__name__}:timed", "seed": seed, "answers": answers,
            "batch_size": self.settings.batch_size // answers, "warmup": 0.0, "critic_init": "zero",
            "critic_learning_rate": self.settings.learning_rate, "missing_stop_penalty": 0.0, "target_kl": 0.0,
            "max_grad_norm": 0.0, "dtype": "bfloat16" if best else "float32", "device": "cpu",
            "save_every": self.settings.steps,
        }  # fmt: skip
        known = {field.name for field in dataclasses.fields(kind.Config)}
        flags = {flag: value for flag, value in wished.items() if flag in known}
        words = [word for flag, value in flags.items() for word in (f"--{flag.replace('_', '-')}", str(value))]
        used = self._run([sys.executable, "-m", "tutelage", name, *words], folder, best)
        return _said(folder, self.settings.batch_size) | {
            "process": used, "model": folder / "run" / "model",
            "flags": {flag: str(value) for flag, value in flags.items() if not isinstance(value, Path)},
            "versions": {"tutelage": __version__} | {each: version(each) for each in ("transformers", "torch")},
        }  # fmt: skip

    def _run(self, command: list[str], folder: Path, best: bool) -> dict[str, float]:
        """Run to its end; what the whole process took, start-up included."""
        print("$", " ".join(command), flush=True)
        paths = os.pathsep.join((str(HERE), str(HERE.parent / "src")))
        surroundings = OFFLINE | {"PYTHONPATH": paths, CLOCK: str(folder / "clock.json")}
        surroundings |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(self.threads))
        if best:
            library = tcmalloc()
            if library is None:
                sys.exit("the best settings need tcmalloc: apt-get install libtcmalloc-minimal4")
            surroundings |= {"LD_PRELOAD": library, "THP_MEM_ALLOC_ENABLE": "1"}
        began = time.monotonic()
        with (folder / "log.txt").open("w", encoding="utf-8") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | surroundings)
            _, status, used = os.wait4(process.pid, 0)
        if status:
            sys.exit(f"it failed; see {folder / 'log.txt'}")
        cpu = used.ru_utime + used.ru_stime
        wall, peak = time.monotonic() - began, used.ru_maxrss / 2**20
        return {"seconds": round(wall, 1), "cpu_seconds": round(cpu, 1), "peak_gib": round(peak, 2)}


def _said(folder: Path, answers: int) -> dict[str, Any]:
    """What a run of ours wrote down of every step."""
    lines = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    names = {"step": "step", "kl": "policy/kl", "length": "answer/length", "stopped": "policy/stop_rate"}
    rows = [
        {name: line[key] for name, key in names.items()} | {"answers": answers}
        for line in lines
        if "reward/mean" in line
    ]
    done = json.loads((folder / "run" / "done.json").read_text(encoding="utf-8"))
    return {"rows": rows, "alarms": [alarm["message"] for alarm in done["alarms"]]}


def _content(text: Any) -> Any:
    """A task's prompt as tutelage holds it: a string, or messages."""
    from tutelage.types import Message

    return text if isinstance(text, str) else tuple(Message(**message) for message in text)


def _measure(model: Path, start: Path, settings: Any, task: Any, answers: int = 4) -> dict[str, float]:
    """Mean reward and sequence KL on held-out prompts: all models by one and the same instrument and random numbers."""
    import torch

    from tutelage.data.template import Renderer
    from tutelage.models.load import load_policy
    from tutelage.sampling import Sampling
    from tutelage.sampling.local import Local
    from tutelage.types import Prompt, plain

    torch.set_num_threads(1)
    policy, reference = load_policy(str(model), device="cpu"), load_policy(str(start), device="cpu")
    sampling = Sampling(max_new_tokens=settings.max_new_tokens, temperature=settings.temperature)
    asked = [Prompt(f"held-out-{index}", _content(text)) for index, text in enumerate(task.prompts()[1])]
    with torch.no_grad():
        drawn = Local(Renderer(policy.tokenizer), sampling).sample(policy, asked, answers, 0)
        now = policy.logprobs(drawn.batch, settings.temperature).logprobs
        kl = (now - reference.logprobs(drawn.batch, settings.temperature).logprobs).sum(1)
    rewards = [task.rule(plain(sample.prompt.content), sample.text) for sample in drawn.samples]
    count = len(rewards) ** 0.5
    return {
        "answers": len(rewards),
        "reward": round(statistics.fmean(rewards), 4),
        "reward_se": round(statistics.stdev(rewards) / count, 4),
        "kl": round(float(kl.mean()), 4),
        "kl_se": round(float(kl.std()) / count, 4),
        "length": round(float(drawn.batch.answer_lengths.float().mean()), 2),
        "stopped": round(float(drawn.stopped.float().mean()), 4),
    }


def _start_model(source: Path, target: Path, task: Any) -> Path:
    """A copy whose answers end where the task wants them to."""
    if not target.is_dir():
        shutil.copytree(source, target)
        from tutelage.models.load import load_tokenizer

        tokenizer = load_tokenizer(str(target))
        ends = list(dict.fromkeys([tokenizer.eos_token_id, _stop_id(tokenizer, task)]))
        generation = {"eos_token_id": ends, "pad_token_id": tokenizer.pad_token_id}
        (target / "generation_config.json").write_text(json.dumps(generation), encoding="utf-8")
    return target


def _stop_id(tokenizer: Any, task: Any) -> int:
    if task.STOP is None:
        return int(tokenizer.eos_token_id)
    stop = tokenizer.convert_tokens_to_ids(task.STOP)
    if stop is None or stop == tokenizer.unk_token_id:
        sys.exit(f"the tokenizer has no token {task.STOP!r} of its own")
    return int(stop)


def _prompt_file(folder: Path, task: Any) -> Path:
    path = folder / "prompts.jsonl"
    rows = [{"id": f"p{index}", "prompt": text} for index, text in enumerate(task.prompts()[0])]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def _environment(venv: Path) -> Path:
    """TRL's Python; the environment is made if it is not there. torch first, so that no other wish replaces it."""
    python = venv / "bin" / "python"
    if not (venv / ".ready").is_file():
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        pins = venv / "pins.txt"
        pins.write_text(TORCH + "\n", encoding="utf-8")
        for packages in ([TORCH], ["-c", str(pins), *PEER]):
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", *packages], check=True)
        (venv / ".ready").touch()
    return python


def _clocked(rows: list[dict[str, Any]], clock: Path, batch: int) -> None:
    """Add the reward of each step, and the wall and CPU time since the first step's answers were scored."""
    asked = json.loads(clock.read_text(encoding="utf-8"))
    if len(asked) != len(rows) * batch:
        sys.exit(f"{len(asked)} answers were scored in {len(rows)} steps of {batch}")
    (wall, cpu, _), scores = asked[batch - 1], [score for *_, score in asked]
    for index, row in enumerate(rows):
        last, own = asked[(index + 1) * batch - 1], scores[index * batch : (index + 1) * batch]
        row["seconds"], row["cpu"] = round(last[0] - wall, 3), round(last[1] - cpu, 3)
        row["reward"], row["reward_sd"] = round(statistics.fmean(own), 4), round(statistics.pstdev(own), 4)
        row["kl"], row["length"] = round(row["kl"], 5), round(row["length"], 3)


def _machine(asked: argparse.Namespace) -> dict[str, Any]:
    information = Path("/proc/cpuinfo")
    names = information.read_text(encoding="utf-8").splitlines() if information.is_file() else []
    name = next((line.partition(": ")[2] for line in names if line.startswith("model name")), platform.processor())
    when = time.strftime("%Y-%m-%d")
    return {
        "cpu": name,
        "cores": os.cpu_count(),
        "threads": asked.threads,
        "note": asked.machine_note,
        "python": platform.python_version(),
        "date": when,
    }


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _compact(found: dict[str, Any]) -> str:
    """JSON with one line per step."""
    runs = []
    for run in found["runs"]:
        rows = ",\n   ".join(json.dumps(row, ensure_ascii=False) for row in run["rows"])
        rest = json.dumps({name: value for name, value in run.items() if name != "rows"}, ensure_ascii=False)
        runs.append(f'{rest[:-1]}, "rows": [\n   {rows}]}}')
    head = json.dumps({name: value for name, value in found.items() if name != "runs"}, ensure_ascii=False, indent=1)
    return f'{head[:-2]},\n "runs": [\n  ' + ",\n  ".join(runs) + "\n ]\n}\n"


if __name__ == "__main__":
    sys.exit(main())
