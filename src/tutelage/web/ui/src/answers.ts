// What a rater has said about a task so far, what a key adds to it, and what is still missing. No page, no server.

import type { Aspect, Judgement, Task } from "./types";

export type Pick = number | "tie" | "bad" | null; // a number is a place on the screen

export type Draft = {
  readonly pick: Pick; // pair, best; "bad" in a ranking too
  readonly strength: number; // 0 = not said
  readonly groups: readonly (readonly number[])[]; // ranking: best first, equals together
  readonly cursor: number | null; // ranking: the place that arrows move
  readonly scores: Readonly<Record<string, number>>; // no entry = not touched
  readonly at: number; // scores: the aspect that keys set
  readonly text: string | null; // edit; null = not touched
  readonly comment: string;
  readonly flags: readonly string[];
  readonly confirmed: boolean;
};

/** Why an answer cannot go out yet; `keep` when the rater may say that this is the answer all the same. */
export type Gap = { word: string; count: number; keep: boolean };

/** A new draft, and whether it is the whole answer. */
export type Step = { draft: Draft; done: boolean };

export const blank: Draft = {
  pick: null, strength: 0, groups: [], cursor: null, scores: {}, at: 0, text: null, comment: "", flags: [], confirmed: false,
};

export function valuesOf(aspect: Aspect): number[] {
  const [low, high] = aspect.scale;
  const count = Math.floor((high - low) / aspect.step + 1e-9) + 1;
  return Array.from({ length: Math.max(1, Math.min(count, 10_001)) }, (_, place) => Number((low + place * aspect.step).toFixed(6)));
}

/** Too many values for a button each. */
export function isSlider(aspect: Aspect): boolean {
  return valuesOf(aspect).length > 11;
}

export function middleOf(aspect: Aspect): number {
  const values = valuesOf(aspect);
  return values[Math.floor((values.length - 1) / 2)]!;
}

// ---------------------------------------------------------------- pair and best

export function pick(task: Task, draft: Draft, chosen: Pick, strength = 0): Step {
  const next = { ...draft, pick: chosen, strength };
  const asksMore = task.kind === "pair" && typeof chosen === "number" && task.options.strength > 0 && strength === 0;
  return { draft: next, done: !asksMore };
}

/** Pair: the places of the scale from "A by far" over the tie to "B by far", as (pick, strength). */
export function scaleOf(task: Task): { pick: Pick; strength: number }[] {
  const levels = Array.from({ length: Math.max(1, task.options.strength) }, (_, place) => (task.options.strength > 0 ? place + 1 : 0));
  return [
    ...levels.map((strength) => ({ pick: 0 as Pick, strength })).reverse(),
    ...(task.options.tie ? [{ pick: "tie" as Pick, strength: 0 }] : []),
    ...levels.map((strength) => ({ pick: 1 as Pick, strength })),
  ];
}

function pressPair(task: Task, draft: Draft, key: string): Step | null {
  const levels = task.options.strength;
  const waits = levels > 0 && typeof draft.pick === "number" && draft.strength === 0;
  if (waits && Number(key) >= 1 && Number(key) <= levels) return pick(task, draft, draft.pick, Number(key));
  if (key === "1" || key === "2") return pick(task, draft, Number(key) - 1);
  if ((key === "0" || key === "3") && task.options.tie) return pick(task, draft, "tie");
  if (key === "9" && task.options.both_bad) return pick(task, draft, "bad");
  if (key === "backspace" && draft.pick !== null) return { draft: { ...draft, pick: null, strength: 0 }, done: false };
  if (key === "arrowleft" || key === "arrowright") return { draft: slide(task, draft, key === "arrowright" ? 1 : -1), done: false };
  return null;
}

function slide(task: Task, draft: Draft, by: number): Draft {
  const scale = scaleOf(task);
  const here = scale.findIndex((place) => place.pick === draft.pick && place.strength === draft.strength);
  const near = typeof draft.pick === "number" ? scale.findIndex((place) => place.pick === draft.pick && place.strength <= 1) : -1;
  const middle = (scale.length - 1) / 2;
  const from = here >= 0 ? here : near >= 0 ? near - by : by > 0 ? Math.floor(middle) : Math.ceil(middle);
  const to = scale[Math.min(scale.length - 1, Math.max(0, from + by))]!;
  return { ...draft, ...to };
}

function pressBest(task: Task, draft: Draft, key: string): Step | null {
  const place = Number(key) - 1;
  if (place >= 0 && place < task.candidates.length) return pick(task, draft, place);
  if (key === "0" && task.options.both_bad) return pick(task, draft, "bad");
  return null;
}

// ---------------------------------------------------------------- ranking

export function unplaced(task: Task, draft: Draft): number[] {
  const placed = new Set(draft.groups.flat());
  return task.candidates.map((_, place) => place).filter((place) => !placed.has(place));
}

/** Puts a place at the end of the order, or takes it out again. */
export function place(draft: Draft, chosen: number): Draft {
  const kept = without(draft.groups, chosen);
  if (kept.flat().length < draft.groups.flat().length) return { ...draft, pick: null, groups: kept, cursor: lastOf(kept) };
  return { ...draft, pick: null, groups: [...kept, [chosen]], cursor: chosen };
}

/** Makes the place under the cursor equal to the one before it, or parts them. */
export function tie(draft: Draft): Draft {
  const at = draft.groups.findIndex((group) => group.includes(draft.cursor ?? -1));
  const group = draft.groups[at];
  if (group === undefined) return draft;
  const groups = draft.groups.map((each) => [...each]);
  if (group[0] !== draft.cursor) {
    const cut = group.indexOf(draft.cursor!);
    groups.splice(at, 1, group.slice(0, cut), group.slice(cut));
  } else if (at > 0) {
    groups.splice(at - 1, 2, [...groups[at - 1]!, ...group]);
  }
  return { ...draft, groups };
}

/** Moves the place under the cursor one step up (-1) or down (1) in the order. */
export function shift(draft: Draft, by: number): Draft {
  const at = draft.groups.findIndex((group) => group.includes(draft.cursor ?? -1));
  if (at < 0 || draft.cursor === null) return draft;
  const alone = draft.groups[at]!.length === 1;
  const to = alone ? at + by : at + (by > 0 ? 1 : 0);
  const rest = without(draft.groups, draft.cursor);
  if (to < 0 || to > rest.length) return draft;
  return { ...draft, groups: [...rest.slice(0, to), [draft.cursor], ...rest.slice(to)] };
}

function moveCursor(draft: Draft, by: number): Draft {
  const flat = draft.groups.flat();
  const at = draft.cursor === null ? -1 : flat.indexOf(draft.cursor);
  return { ...draft, cursor: flat[Math.min(flat.length - 1, Math.max(0, at + by))] ?? null };
}

function without(groups: Draft["groups"], chosen: number): number[][] {
  return groups.map((group) => group.filter((each) => each !== chosen)).filter((group) => group.length > 0);
}

function lastOf(groups: readonly (readonly number[])[]): number | null {
  return groups.at(-1)?.at(-1) ?? null;
}

function pressRanking(task: Task, draft: Draft, key: string): Step | null {
  const chosen = Number(key) - 1;
  if (chosen >= 0 && chosen < task.candidates.length) return { draft: place(draft, chosen), done: false };
  if (key === "0" && task.options.both_bad) return pick(task, draft, "bad");
  if (key === "=" && task.options.tie) return { draft: tie(draft), done: false };
  if (key === "backspace" && draft.cursor !== null) return { draft: place(draft, draft.cursor), done: false };
  if (key === "arrowleft" || key === "arrowright") return { draft: moveCursor(draft, key === "arrowright" ? 1 : -1), done: false };
  if (key === "shift+arrowleft" || key === "shift+arrowright") return { draft: shift(draft, key.endsWith("right") ? 1 : -1), done: false };
  return null;
}

// ---------------------------------------------------------------- scores

export function score(task: Task, draft: Draft, name: string, value: number, advance = true): Step {
  const aspect = task.aspects.find((each) => each.name === name)!;
  const [low, high] = aspect.scale;
  const near = Math.round((value - low) / aspect.step) * aspect.step + low;
  const scores = { ...draft.scores, [name]: Number(Math.min(high, Math.max(low, near)).toFixed(6)) };
  const here = task.aspects.indexOf(aspect);
  const open = task.aspects.findIndex((each, place) => place > here && scores[each.name] === undefined);
  const at = advance ? (open >= 0 ? open : Math.min(here + 1, task.aspects.length - 1)) : here;
  return { draft: { ...draft, scores, at }, done: advance && task.aspects.length === 1 && !isSlider(aspect) };
}

function pressScores(task: Task, draft: Draft, key: string): Step | null {
  const aspect = task.aspects[draft.at];
  if (aspect === undefined) return null;
  const values = valuesOf(aspect);
  const now = draft.scores[aspect.name];
  if (key === "arrowup" || key === "arrowdown") {
    const at = Math.min(task.aspects.length - 1, Math.max(0, draft.at + (key === "arrowdown" ? 1 : -1)));
    return { draft: { ...draft, at }, done: false };
  }
  if (key === "arrowleft" || key === "arrowright") {
    const by = key === "arrowright" ? 1 : -1;
    const to = now === undefined ? (by > 0 ? values[0]! : values.at(-1)!) : now + by * aspect.step;
    return score(task, draft, aspect.name, to, false);
  }
  if (key === "backspace") {
    const { [aspect.name]: _gone, ...scores } = draft.scores;
    return { draft: { ...draft, scores }, done: false };
  }
  const digit = key === "" || Number.isNaN(Number(key)) ? NaN : Number(key);
  if (!isSlider(aspect) && values.includes(digit)) return score(task, draft, aspect.name, digit);
  return null;
}

// ---------------------------------------------------------------- all kinds

/** What `key` means for this task; null when it means nothing. */
export function press(task: Task, draft: Draft, key: string): Step | null {
  switch (task.kind) {
    case "pair": return pressPair(task, draft, key);
    case "best": return pressBest(task, draft, key);
    case "ranking": return pressRanking(task, draft, key);
    case "scores": return pressScores(task, draft, key);
    case "edit": return null;
  }
}

/** The rater says that what nobody moved is the answer. */
export function keep(task: Task, draft: Draft): Draft {
  const next = { ...draft, confirmed: true };
  if (task.kind === "ranking") return { ...next, groups: task.candidates.map((_, at) => [at]) };
  if (task.kind === "edit") return { ...next, text: task.candidates[0]?.text ?? "" };
  const open = task.aspects.filter((aspect) => draft.scores[aspect.name] === undefined && isSlider(aspect));
  return { ...next, scores: { ...draft.scores, ...Object.fromEntries(open.map((aspect) => [aspect.name, middleOf(aspect)])) } };
}

/** What forbids to send this; null when nothing does. */
export function gapOf(task: Task, draft: Draft): Gap | null {
  const gap = (word: string, count = 0, keepable = false): Gap => ({ word, count, keep: keepable });
  switch (task.kind) {
    case "pair":
      if (draft.pick === null) return gap("gap_pick");
      return pick(task, draft, draft.pick, draft.strength).done ? null : gap("gap_strength");
    case "best":
      return draft.pick === null ? gap("gap_pick") : null;
    case "ranking": {
      const open = unplaced(task, draft).length;
      if (draft.pick === "bad" || open <= 1) return null;
      return open === task.candidates.length ? gap("gap_ranking_untouched", open, true) : gap("gap_ranking_open", open);
    }
    case "scores": {
      const open = task.aspects.filter((aspect) => draft.scores[aspect.name] === undefined);
      if (open.length === 0) return null;
      return open.every(isSlider) ? gap("gap_slider", open.length, true) : gap("gap_scores", open.length);
    }
    case "edit": {
      if (draft.text !== null && draft.text.trim() === "") return gap("gap_edit_empty");
      const same = draft.text === null || draft.text === task.candidates[0]?.text;
      return same && !draft.confirmed ? gap("gap_edit_untouched", 0, true) : null;
    }
  }
}

/** The answer as the server wants it; only for a draft without a gap. */
export function judgementOf(task: Task, draft: Draft, id: string, seconds: number): Judgement {
  const said: Judgement = { id, task: task.id, shown: task.shown, confirmed: draft.confirmed, seconds: Math.round(seconds * 1000) / 1000, rubric: task.rubric };
  if (task.kind === "scores") said.scores = { ...draft.scores };
  else if (task.kind === "edit") said.edit = draft.text ?? "";
  else said.ranks = ranksOf(task, draft);
  if (draft.pick === "bad") said.both_bad = true;
  if (draft.strength > 0 && typeof draft.pick === "number") said.strength = draft.strength;
  if (draft.comment.trim() !== "") said.comment = draft.comment.trim();
  if (draft.flags.length > 0) said.flags = [...draft.flags];
  return said;
}

function ranksOf(task: Task, draft: Draft): number[] {
  const ranks = task.candidates.map(() => 1);
  if (draft.pick === "tie" || draft.pick === "bad") return ranks;
  const groups = task.kind === "ranking" ? [...draft.groups, unplaced(task, draft)] : [[draft.pick as number], task.candidates.map((_, at) => at).filter((at) => at !== draft.pick)];
  groups.filter((group) => group.length > 0).forEach((group, rank) => {
    for (const at of group) ranks[task.shown[at]!] = rank + 1;
  });
  return ranks;
}
