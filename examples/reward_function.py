"""PPO against a function of your own: answers that name a colour get the reward. `reward_function.py [FOLDER]`"""

from __future__ import annotations

import sys
from pathlib import Path

import tutelage as tt

COLOURS = ("red", "green", "blue", "红", "绿", "蓝")
THINGS = {"box": "盒子", "door": "门", "boat": "船", "hat": "帽子", "house": "房子", "kite": "风筝"}


def names_a_colour(prompt: str, completion: str) -> float:
    """1 for an answer with a colour in it, 0 for any other."""
    return float(any(colour in completion for colour in COLOURS))


def answers() -> list[dict[str, str]]:
    """Two in three answers are boring, so that there is something to improve."""
    english = [
        {"prompt": f"Describe the {thing}: ", "completion": f"The {thing} is {kind}."}
        for thing in THINGS
        for kind in ("old", "big", "cheap", "nice", "red", "blue")
    ]
    chinese = [
        {"prompt": f"描述{thing}：", "completion": f"这个{thing}是{kind}的。"}
        for thing in THINGS.values()
        for kind in ("旧", "大", "好", "新", "红", "绿")
    ]
    return english + chinese


def main(folder: Path) -> None:
    rows = answers()
    texts = [{"text": row["prompt"] + row["completion"]} for row in rows]
    shape = {"vocab_size": 400, "hidden_size": 64, "layers": 2, "heads": 2, "key_value_heads": 1, "context": 64}
    common = {"batch_size": 8, "max_length": 64, "log_every": 20}
    base = tt.pretrain(data=texts, out=folder / "base", epochs=10, learning_rate=3e-3, **shape, **common).train()
    tuned = tt.sft(model=base.model, data=rows, out=folder / "sft", epochs=5, learning_rate=2e-3, **common).train()
    improved = tt.ppo(
        model=tuned.model,
        data=sorted({row["prompt"] for row in rows}),
        reward=names_a_colour,
        out=folder / "ppo",
        steps=12,
        batch_size=12,
        answers=4,
        max_length=64,
        max_new_tokens=16,
        learning_rate=1e-3,
        critic_learning_rate=3e-3,
    ).train()
    shares = [line["reward/mean"] for line in improved.metrics() if "reward/mean" in line]
    print(f"answers with a colour: {shares[0]:.0%} → {shares[-1]:.0%}; model: {improved.model}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/example-reward-function"))
