// The question itself: the conversation, the answers side by side, and for some kinds the form beside them.

import type { ComponentChildren } from "preact";
import { useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { middleOf, place, pick, score, unplaced, isSlider, valuesOf } from "./answers";
import { Key } from "./key";
import { useKeyNames } from "./keymap";
import { differences, type Piece } from "./diff";
import type { Session } from "./session";
import { Text } from "./text";
import type { Aspect, Candidate, Task } from "./types";
import { useWords } from "./words";

export type View = { raw: boolean; diff: boolean; whole: boolean };

export const letterOf = (at: number): string => String.fromCharCode(65 + at);

export function Prompt({ task, view, setView }: { task: Task; view: View; setView: (view: View) => void }) {
  const say = useWords();
  const name = useKeyNames();
  const box = useRef<HTMLDivElement>(null);
  const [long, setLong] = useState(false);
  useLayoutEffect(() => {
    const element = box.current;
    if (element === null) return;
    const measure = () => setLong(element.scrollHeight > element.clientHeight + 4);
    if (!view.whole) measure();
    const watcher = new ResizeObserver(() => !view.whole && measure());
    watcher.observe(element);
    return () => watcher.disconnect();
  }, [task.id, view.whole, view.raw]);
  const one = task.prompt.length === 1;
  useLayoutEffect(() => {
    if (!one && !view.whole && box.current !== null) box.current.scrollTop = box.current.scrollHeight; // the last turn is the question
  });
  return (
    <section class={`prompt ${view.whole ? "whole" : ""} ${long && !view.whole ? "cut" : ""} ${one ? "" : "tail"}`} aria-label={say("prompt")}>
      <div class="prompt-box" ref={box} key={task.id}>
        {task.prompt.map((turn) => (
          <div class={`turn ${turn.role}`}>
            <span class="role">{one && turn.role === "user" ? say("prompt") : roleName(say, turn.role)}</span>
            <Text text={turn.text} html={turn.html} raw={view.raw} />
          </div>
        ))}
      </div>
      {(long || view.whole) && (
        <button type="button" class="more" aria-expanded={view.whole} aria-keyshortcuts={name("p")} onClick={() => setView({ ...view, whole: !view.whole })}>
          {say(view.whole ? "show_less" : "show_all")} <Key of="p" />
        </button>
      )}
    </section>
  );
}

function roleName(say: ReturnType<typeof useWords>, role: string): string {
  const name = say(`role_${role}`);
  return name === `role_${role}` ? role : name;
}

/** The words that each answer has and the first one lacks; for the first one, what the second lacks. */
function useDifferences(task: Task, on: boolean): (Piece[] | undefined)[] {
  return useMemo(() => {
    if (!on || task.candidates.length < 2) return [];
    const [first, ...others] = task.candidates.map((candidate) => candidate.text);
    const pairs = others.map((other) => differences(first!, other));
    return [task.candidates.length === 2 ? pairs[0]![0] : [{ text: first!, only: false }], ...pairs.map((pair) => pair[1])];
  }, [task, on]);
}

export function Answers({ session, task, view }: { session: Session; task: Task; view: View }) {
  const pieces = useDifferences(task, view.diff);
  const count = task.candidates.length;
  return (
    <div class={`answers ${count === 1 ? "one" : count === 2 ? "two" : "many"} n${count}`}>
      {task.candidates.map((candidate, at) => (
        <Answer key={`${task.id}/${at}`} at={at} candidate={candidate} view={view} pieces={pieces[at]} state={stateOf(session, task, at)} alone={count === 1}>
          <Choose session={session} task={task} at={at} />
        </Answer>
      ))}
      {task.kind === "edit" && <Editor session={session} task={task} diff={view.diff} />}
    </div>
  );
}

function stateOf(session: Session, task: Task, at: number): string {
  const { pick: picked, groups, cursor } = session.draft;
  if (task.kind === "ranking") return `${groups.some((group) => group.includes(at)) ? "placed" : ""} ${cursor === at ? "cursor" : ""}`;
  return picked === at ? "picked" : picked === null ? "" : "passed";
}

type AnswerProperties = { at: number; candidate: Candidate; view: View; pieces: Piece[] | undefined; state: string; alone: boolean; children: ComponentChildren };

function Answer({ at, candidate, view, pieces, state, alone, children }: AnswerProperties) {
  const say = useWords();
  const name = alone ? say("answer") : say("answer_named", { name: letterOf(at) });
  return (
    <article class={`answer ${state}`} aria-label={name}>
      <header>
        <h2>{alone ? name : <><span class="visually-hidden">{name}</span><span class="letter" aria-hidden="true">{letterOf(at)}</span></>}</h2>
        {children}
      </header>
      {candidate.text.trim() === "" ? <p class="muted words">{say("answer_empty")}</p> : <Text text={candidate.text} html={candidate.html} raw={view.raw} pieces={pieces} side={at === 0 ? "left" : "right"} />}
    </article>
  );
}

/** The button in an answer's head, for the kinds that choose or place answers. */
function Choose({ session, task, at }: { session: Session; task: Task; at: number }) {
  const say = useWords();
  const key = useKeyNames();
  const name = letterOf(at);
  if (task.kind === "best") {
    return (
      <button type="button" class="button small choose" aria-keyshortcuts={key(String(at + 1))} aria-label={say("choose_named", { name })} onClick={(event) => event.detail < 2 && session.step(pick(task, session.draft, at))}>
        {say("choose")} <Key of={String(at + 1)} />
      </button>
    );
  }
  if (task.kind !== "ranking") return null;
  const rank = session.draft.groups.findIndex((group) => group.includes(at));
  const label = rank < 0 ? say("place_named", { name }) : say("placed_named", { name, rank: rank + 1 });
  return (
    <button type="button" class={`button small choose ${rank >= 0 ? "on" : ""}`} aria-pressed={rank >= 0} aria-keyshortcuts={key(String(at + 1))} aria-label={label} onClick={() => session.step({ draft: place(session.draft, at), done: false })}>
      {rank < 0 ? say("place", { rank: ordinal(say.language, session.draft.groups.length + 1) }) : say("rank", { rank: ordinal(say.language, rank + 1) })} <Key of={String(at + 1)} />
    </button>
  );
}

export function ordinal(language: string, rank: number): string {
  if (language === "zh") return String(rank);
  const ending = rank % 10 === 1 && rank !== 11 ? "st" : rank % 10 === 2 && rank !== 12 ? "nd" : rank % 10 === 3 && rank !== 13 ? "rd" : "th";
  return `${rank}${ending}`;
}

export const openPlaces = unplaced;

export function Scores({ session, task }: { session: Session; task: Task }) {
  const say = useWords();
  return (
    <section class="score-panel" aria-label={say("aspects")}>
      {task.aspects.map((aspect, at) => <AspectRow key={`${task.id}/${aspect.name}`} session={session} task={task} aspect={aspect} here={at === session.draft.at && task.aspects.length > 1} />)}
    </section>
  );
}

function AspectRow({ session, task, aspect, here }: { session: Session; task: Task; aspect: Aspect; here: boolean }) {
  const say = useWords();
  const value = session.draft.scores[aspect.name];
  const label = say.both(aspect.label, aspect.name);
  const anchor = value === undefined ? "" : say.both(aspect.anchors[String(value)]);
  const told = Object.keys(aspect.anchors).length > 0; // an owner who words some numbers words no others by us
  const end = (side: 0 | 1, word: string) => say.both(aspect.anchors[String(aspect.scale[side])]) || (told ? "" : say(word));
  const set = (to: number) => session.step(score(task, session.draft, aspect.name, to));
  const line = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    if (here && session.draft.at > 0) line.current?.scrollIntoView({ block: "nearest" });
  }, [here]);
  const point = () => !here && session.revise({ at: task.aspects.indexOf(aspect) });
  return (
    <div ref={line} class={`aspect-line ${here ? "here" : ""} ${value === undefined ? "open" : ""}`} role="group" aria-label={label} data-aspect={aspect.name} onFocusIn={point}>
      <div class="aspect-head"><h3>{label}</h3><output>{value === undefined ? say("not_scored") : value}</output></div>
      {isSlider(aspect) ? <Slider aspect={aspect} value={value} label={label} set={(to) => session.step(score(task, session.draft, aspect.name, to, false))} /> : (
        <div class="steps">
          {valuesOf(aspect).map((each) => (
            <button type="button" aria-pressed={each === value} aria-label={[`${label}: ${each}`, say.both(aspect.anchors[String(each)])].filter(Boolean).join(", ")} title={say.both(aspect.anchors[String(each)])} onClick={(event) => event.detail < 2 && set(each)}>{each}</button>
          ))}
        </div>
      )}
      <div class="ends" aria-hidden="true">
        {anchor !== "" ? <span class="anchor">{anchor}</span> : <><span>{end(0, "scale_low")}</span><span>{end(1, "scale_high")}</span></>}
      </div>
    </div>
  );
}

function Slider({ aspect, value, label, set }: { aspect: Aspect; value: number | undefined; label: string; set: (to: number) => void }) {
  const say = useWords();
  const [low, high] = aspect.scale;
  return (
    <div class={`slider ${value === undefined ? "untouched" : ""}`}>
      <input type="range" min={low} max={high} step={aspect.step} value={value ?? middleOf(aspect)} aria-label={label} aria-valuetext={value === undefined ? say("not_scored") : String(value)} onInput={(event) => set(Number(event.currentTarget.value))} onPointerUp={(event) => set(Number(event.currentTarget.value))} />
      <input type="number" min={low} max={high} step={aspect.step} value={value ?? ""} placeholder="–" aria-label={say("number_of", { name: label })} onChange={(event) => event.currentTarget.value !== "" && set(Number(event.currentTarget.value))} />
    </div>
  );
}

function Editor({ session, task, diff }: { session: Session; task: Task; diff: boolean }) {
  const say = useWords();
  const original = task.candidates[0]?.text ?? "";
  const text = session.draft.text ?? original;
  const pieces = useMemo(() => (diff ? differences(original, text)[1] : undefined), [diff, diff ? text : "", original]);
  return (
    <section class="answer editor" aria-label={say("your_version")}>
      <header><h2>{say("your_version")}</h2>{text !== original && <button type="button" class="link-button" onClick={() => session.revise({ text: null })}>{say("start_over")}</button>}</header>
      {pieces !== undefined ? <Text text={text} html="" raw pieces={pieces} side="right" /> : <textarea id="edit" class="words" dir="auto" spellcheck={true} value={text} aria-label={say("your_version")} onInput={(event) => session.revise({ text: event.currentTarget.value })} />}
    </section>
  );
}
