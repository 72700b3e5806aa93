// The bar at the bottom: the answer in one row, what goes with it in the other.

import { pick, place, scaleOf, shift, tie, unplaced, type Pick } from "./answers";
import { Icon } from "./icons";
import { Key } from "./key";
import { useKeyNames } from "./keymap";
import type { Session } from "./session";
import { letterOf, ordinal } from "./task";
import type { Task } from "./types";
import { useWords, type Say } from "./words";

export type Panel = "skip" | "flags" | null;

type Properties = { session: Session; task: Task; open: (panel: "skip" | "flags") => void; noting: boolean; setNoting: (on: boolean) => void };

export function Verdict(properties: Properties) {
  const { session, task, noting } = properties;
  const say = useWords();
  return (
    <footer class="verdict" aria-label={say("your_answer")}>
      <div class="frame">
        {session.gap !== null && <Gap session={session} />}
        {(noting || session.draft.comment !== "") && task.options.comment && <Note {...properties} />}
        <div class="row answer-row">
          {task.kind === "pair" && <PairScale session={session} task={task} />}
          {task.kind === "best" && <BestRow session={session} task={task} />}
          {task.kind === "ranking" && <Order session={session} task={task} />}
          {(task.kind === "scores" || task.kind === "edit") && <SendRow session={session} task={task} />}
        </div>
        <Tools {...properties} />
      </div>
    </footer>
  );
}

function Gap({ session }: { session: Session }) {
  const key = useKeyNames();
  const say = useWords();
  const gap = session.gap!;
  return (
    <div class="gap" data-test="gap">
      <Icon name="warn" />
      <span>{say(gap.word, { count: gap.count })}</span>
      {gap.keep && <button type="button" class="button small" aria-keyshortcuts={key("k")} onClick={() => session.keepAndSubmit()}>{say("keep")} <Key of="k" /></button>}
    </div>
  );
}

function Note({ session, setNoting }: Properties) {
  const say = useWords();
  return (
    <label class="note">
      <span class="visually-hidden">{say("comment")}</span>
      <textarea id="comment" rows={2} dir="auto" maxLength={4000} placeholder={say("comment_hint")} value={session.draft.comment} onInput={(event) => session.revise({ comment: event.currentTarget.value })} onBlur={() => session.draft.comment === "" && setNoting(false)} />
    </label>
  );
}

// ---------------------------------------------------------------- pair and best

function strengthWord(say: Say, level: number, levels: number): string {
  if (levels <= 1) return say("strength_better");
  if (level === 1) return say("strength_slight");
  if (level === levels) return say("strength_much");
  return levels === 3 ? say("strength_clear") : say("strength_level", { level });
}

function PairScale({ session, task }: { session: Session; task: Task }) {
  const key = useKeyNames();
  const say = useWords();
  const levels = task.options.strength;
  const { pick: picked, strength } = session.draft;
  const asking = levels > 0 && typeof picked === "number" && strength === 0;
  return (
    <div class={`pair-row ${levels > 1 ? "graded" : ""}`}>
      <div class="scale" role="group" aria-label={say("your_answer")}>
        {scaleOf(task).map((each) => {
          const side = each.pick === 0 ? "a" : each.pick === 1 ? "b" : "tie";
          const on = picked === each.pick && strength === each.strength;
          return (
            <button type="button" class={`grade ${side} ${asking && picked === each.pick ? "asked" : ""}`} aria-pressed={on} aria-label={pairLabel(say, each.pick, each.strength, levels)} onClick={(event) => event.detail < 2 && session.step(pick(task, session.draft, each.pick, each.strength))}>
              <span class="long">{each.pick === "tie" ? say("tie") : levels > 1 ? strengthWord(say, each.strength, levels) : say("is_better", { name: letterOf(Number(each.pick)) })}</span>
              {levels > 1 && each.pick !== "tie" && <span class="bars" aria-hidden="true">{Array.from({ length: each.strength }, () => <i />)}</span>}
              <PairKey asking={asking} picked={picked} place={each} levels={levels} />
            </button>
          );
        })}
      </div>
      {levels > 1 && <div class="scale-ends" aria-hidden="true"><span>← {say("is_better", { name: "A" })} <Key of="1" /></span><span><Key of="2" /> {say("is_better", { name: "B" })} →</span></div>}
      {task.options.both_bad && <button type="button" class="button bad-choice" aria-pressed={picked === "bad"} aria-keyshortcuts={key("9")} onClick={(event) => event.detail < 2 && session.step(pick(task, session.draft, "bad"))}>{say("both_bad")} <Key of="9" /></button>}
    </div>
  );
}

function PairKey({ asking, picked, place: here, levels }: { asking: boolean; picked: Pick; place: { pick: Pick; strength: number }; levels: number }) {
  if (here.pick === "tie") return <Key of={asking ? "0" : "3"} />;
  if (levels <= 1 && !asking) return <Key of={here.pick === 0 ? "1" : "2"} />;
  return asking && picked === here.pick ? <Key of={String(here.strength)} /> : null;
}

function pairLabel(say: Say, chosen: Pick, strength: number, levels: number): string {
  if (chosen === "tie") return say("tie");
  const name = letterOf(Number(chosen));
  return levels > 1 ? say("is_better_by", { name, strength: strengthWord(say, strength, levels) }) : say("is_better", { name });
}

function BestRow({ session, task }: { session: Session; task: Task }) {
  const say = useWords();
  const picked = session.draft.pick;
  return (
    <div class="pair-row">
      <div class="scale" role="group" aria-label={say("your_answer")}>
        {task.candidates.map((_, at) => (
          <button type="button" class="grade" aria-pressed={picked === at} aria-label={say("is_best", { name: letterOf(at) })} onClick={(event) => event.detail < 2 && session.step(pick(task, session.draft, at))}>
            <span class="letter-word">{letterOf(at)}</span> <Key of={String(at + 1)} />
          </button>
        ))}
      </div>
      {task.options.both_bad && <AllBad session={session} task={task} />}
    </div>
  );
}

function AllBad({ session, task }: { session: Session; task: Task }) {
  const key = useKeyNames();
  const say = useWords();
  return <button type="button" class="button bad-choice" aria-pressed={session.draft.pick === "bad"} aria-keyshortcuts={key("0")} onClick={(event) => event.detail < 2 && session.step(pick(task, session.draft, "bad"))}>{say("all_bad")} <Key of="0" /></button>;
}

// ---------------------------------------------------------------- ranking, scores, edit

function Order({ session, task }: { session: Session; task: Task }) {
  const key = useKeyNames();
  const say = useWords();
  const { groups, cursor } = session.draft;
  const open = unplaced(task, session.draft);
  const step = (draft: typeof session.draft) => session.step({ draft, done: false });
  return (
    <div class="order-row">
      <ol class="order" aria-label={say("order")}>
        {groups.map((group, rank) => (
          <li aria-label={`${ordinal(say.language, rank + 1)}: ${group.map(letterOf).join(" = ")}`}>
            <span class="rank" aria-hidden="true">{rank + 1}</span>
            {group.map((at, place) => (
              <>
                {place > 0 && <span aria-hidden="true">=</span>}
                <button type="button" class={`chip ${cursor === at ? "cursor" : ""}`} aria-pressed={cursor === at} aria-label={say("chip_named", { name: letterOf(at) })} onClick={() => step({ ...session.draft, cursor: at })}>{letterOf(at)}</button>
              </>
            ))}
          </li>
        ))}
        {open.map((at) => <li class="unplaced"><button type="button" class="chip" aria-label={say("place_named", { name: letterOf(at) })} onClick={() => step(place(session.draft, at))}>{letterOf(at)}</button></li>)}
      </ol>
      {cursor !== null && (
        <div class="order-tools" role="group" aria-label={say("move_named", { name: letterOf(cursor) })}>
          <button type="button" class="button small" aria-label={say("move_up")} title={`${say("move_up")} (Shift ←)`} onClick={() => step(shift(session.draft, -1))}>←</button>
          {task.options.tie && <button type="button" class="button small" aria-label={say("make_equal")} title={`${say("make_equal")} (${key("=")})`} onClick={() => step(tie(session.draft))}>=</button>}
          <button type="button" class="button small" aria-label={say("move_down")} title={`${say("move_down")} (Shift →)`} onClick={() => step(shift(session.draft, 1))}>→</button>
          <button type="button" class="button small" aria-label={say("take_out")} title={`${say("take_out")} (⌫)`} onClick={() => step(place(session.draft, cursor))}>×</button>
        </div>
      )}
      <span class="spring" />
      {task.options.both_bad && <AllBad session={session} task={task} />}
      <Send session={session} ready={open.length <= 1} />
    </div>
  );
}

function SendRow({ session, task }: { session: Session; task: Task }) {
  const say = useWords();
  const scored = task.aspects.filter((aspect) => session.draft.scores[aspect.name] !== undefined).length;
  const text = task.kind === "edit" ? say("edit_hint") : say("scored", { done: scored, all: task.aspects.length });
  return (
    <div class="order-row">
      <span class="muted hint-line">{text}</span>
      <span class="spring" />
      <Send session={session} ready={task.kind === "edit" ? session.draft.text !== null : scored === task.aspects.length} />
    </div>
  );
}

function Send({ session, ready }: { session: Session; ready: boolean }) {
  const say = useWords();
  return <button type="button" class={`button send ${ready ? "primary" : ""}`} data-test="send" onClick={(event) => event.detail < 2 && session.submit()}>{say("send")} <kbd>↵</kbd></button>;
}

// ---------------------------------------------------------------- what goes with an answer

function Tools({ session, task, open, setNoting, noting }: Properties) {
  const key = useKeyNames();
  const say = useWords();
  const flags = session.draft.flags;
  return (
    <div class="row tools">
      <button type="button" class="tool" disabled={!session.undoable} aria-keyshortcuts={key("z")} onClick={() => session.undo()}><Icon name="undo" /><span>{say("undo")}</span><Key of="z" /></button>
      <span class="spring" />
      {task.options.comment && <button type="button" class={`tool ${session.draft.comment !== "" ? "on" : ""}`} aria-expanded={noting} aria-keyshortcuts={key("c")} onClick={() => setNoting(true)}><Icon name="comment" /><span>{say("comment")}</span><Key of="c" /></button>}
      {task.options.flags.length > 0 && <button type="button" class={`tool ${flags.length > 0 ? "flagged" : ""}`} aria-haspopup="dialog" aria-keyshortcuts={key("f")} onClick={() => open("flags")}><Icon name="flag" /><span>{flags.length > 0 ? flags.map((flag) => flagName(say, flag)).join(", ") : say("flag")}</span><Key of="f" /></button>}
      <button type="button" class="tool" aria-haspopup="dialog" aria-keyshortcuts={key("s")} onClick={() => open("skip")}><Icon name="skip" /><span>{say("skip")}</span><Key of="s" /></button>
    </div>
  );
}

export function flagName(say: Say, flag: string): string {
  const name = say(`flag_${flag.replace(/[\s-]+/g, "_")}`);
  return name.startsWith("flag_") ? flag : name;
}
