// The rater's sitting: tasks fetched ahead, the one on the screen, its draft, what was sent and how to take it back.
// Nothing here touches the page; `screen.tsx` draws it and `onChange` says when.

import { blank, gapOf, judgementOf, keep, type Draft, type Gap, type Step } from "./answers";
import { Refusal, call, speakFor } from "./api";
import { newId } from "./ids";
import { memorise, recall } from "./memo";
import { Outbox, askedIn, placeOf, withTexts, type Mood, type Refused, type Sending } from "./outbox";
import { Shelf } from "./shelf";
import { Tabs } from "./tabs";
import type { Boot, Guidelines, Language, Me, Task, Waiting } from "./types";

export type Phase = "loading" | "rating" | "empty" | "unreachable" | "full" | "signed-out" | "denied" | "error";
export type Reason = "unclear" | "too_long" | "no_knowledge" | "unsafe" | "other";
type Past = { key: string; id: string; task: Task; draft: Draft; skipped: boolean };

const AHEAD = 2; // tasks kept ready behind the one on the screen
const PAST = 20; // answers that can be taken back
const SETTLE = 180; // milliseconds in which a new task takes no answer: a second press was meant for the one before
const EMPTY_AGAIN = 15_000;
const SOON_AGAIN = 3_000; // while a run trains on what was said, its next questions are near
const RUN_IS_NEAR = 600_000;

export class Session {
  me: Me | null = null;
  language: Language;
  phase: Phase = "loading";
  problem: { status: number; text: string } | null = null; // why there is no task
  task: Task | null = null;
  draft: Draft = blank;
  gap: Gap | null = null;
  said = { word: "", count: 0, turn: 0 }; // for the live region
  mood: Mood = { waiting: 0, trouble: "" };
  refused: Refused[] = [];
  guidelines: Guidelines | null = null;
  newRubric = false;
  deadline: (Waiting & { at: number }) | null = null;
  settledAt = 0;

  private untouched: Draft = blank;
  private queue: { task: Task; until: number }[] = [];
  private past: Past[] = [];
  private fetching = false;
  private missed = false; // tasks were wanted while a reply was on its way, which may have been made before they were there
  private again = 0;
  private ran = -Infinity; // when a training run was last seen to wait
  private shelf!: Shelf;
  private tabs!: Tabs;
  private elsewhere = new Set<string>(); // tasks that another tab has answered
  private outbox!: Outbox;
  private watch = { since: 0, seconds: 0 };

  constructor(boot: Boot, private readonly onChange: () => void) {
    this.language = boot.language;
  }

  get undoable(): boolean {
    return this.past.length > 0;
  }

  async start(): Promise<void> {
    this.shelf = await Shelf.open();
    document.addEventListener("visibilitychange", () => this.visibility());
    try {
      this.meet(await call<Me>("GET", "/api/v1/me"));
      this.language = this.me!.language;
    } catch (error) {
      this.failed(error);
      if (this.phase === "unreachable" || this.phase === "full") this.again = window.setTimeout(() => void this.start(), 3000);
      return;
    }
    const rater = this.me!.rater;
    speakFor(rater);
    this.tabs = new Tabs(rater, (task, done, by) => this.otherTab(task, done, by));
    this.outbox = new Outbox(
      this.shelf, rater,
      (mood) => this.change({ mood }),
      (sending, reply) => this.sent(sending, reply as { extra?: boolean } | null),
      (refused) => this.keepRefused(refused),
      (mine, stands) => this.otherStands(mine, stands),
    );
    this.past = await this.shelf.all<Past>("history", `${rater}/`);
    this.refused = await this.shelf.all<Refused>("history", `refused/${rater}/`);
    await this.outbox.load();
    await this.fill();
    this.poll();
  }

  // -------------------------------------------------------------- the task on the screen

  step(step: Step | null): void {
    if (step === null || this.task === null || (step.done && performance.now() < this.settledAt)) return;
    this.change({ draft: step.draft, gap: null });
    this.saveDraft();
    if (step.done) this.submit();
  }

  revise(part: Partial<Draft>): void {
    this.step({ draft: { ...this.draft, ...part }, done: false });
  }

  /** Send the answer; with a gap, say so instead. Enter twice on a gap that may be kept keeps it. */
  submit(): void {
    if (this.task === null || performance.now() < this.settledAt) return;
    const gap = gapOf(this.task, this.draft);
    if (gap !== null) {
      if (gap.keep && this.gap?.keep === true) return this.keepAndSubmit();
      this.change({ gap });
      return this.say(gap.word, gap.count);
    }
    const id = newId();
    const body = judgementOf(this.task, this.draft, id, this.lap());
    this.remember({ id, task: this.task, draft: this.draft, skipped: false });
    void this.outbox.add("/api/v1/judgements", { ...body }, this.task.id, askedIn(this.task));
    this.count(1, this.task.id);
    this.say("said_saved");
    this.next();
  }

  /** One key says that what nobody moved is the answer; on anything else it does nothing. */
  keepUntouched(): void {
    if (this.task !== null && gapOf(this.task, this.draft)?.keep === true) this.keepAndSubmit();
  }

  keepAndSubmit(): void {
    if (this.task === null) return;
    this.draft = keep(this.task, this.draft);
    this.gap = null;
    this.submit();
  }

  skip(reason: Reason, comment: string): void {
    if (this.task === null || performance.now() < this.settledAt) return;
    const id = newId();
    const note = comment.trim();
    void this.outbox.add(`/api/v1/tasks/${encodeURIComponent(this.task.id)}/skip`, { id, reason, ...(note === "" ? {} : { comment: note }) }, this.task.id, askedIn(this.task));
    this.remember({ id, task: this.task, draft: this.draft, skipped: true });
    this.count(0, this.task.id);
    this.say("said_skipped");
    this.next();
  }

  /** The last answer comes back to the screen as it was; a row on the server takes it back. */
  undo(): void {
    const last = this.past.at(-1);
    if (last === undefined) return this.say("said_nothing_to_undo");
    this.past.pop();
    void this.shelf.remove("history", last.key);
    void this.outbox.add(`/api/v1/${last.skipped ? "skips" : "judgements"}/${encodeURIComponent(last.id)}/undo`, { id: newId() }, last.task.id, askedIn(last.task));
    this.count(last.skipped ? 0 : -1, last.task.id, false);
    if (this.task !== null) this.queue.unshift({ task: this.task, until: this.until(this.task) });
    this.show(last.task, { ...last.draft, confirmed: false });
    this.say("said_undone");
  }

  /** Another tab has dealt with a task: here it goes too, unless something was said about it that would be lost. */
  private otherTab(task: string, done: boolean, by: number): void {
    this.add(by);
    if (!done) return void this.elsewhere.delete(task);
    this.elsewhere.add(task);
    this.queue = this.queue.filter((each) => each.task.id !== task);
    if (this.task?.id !== task || this.phase !== "rating" || this.draft !== this.untouched) return;
    this.say("said_elsewhere");
    this.next();
  }

  private next(): void {
    if (this.task !== null) memorise(this.draftKey(this.task), null);
    const now = performance.now();
    this.queue = this.queue.filter((each) => each.until > now); // leases that ran out are someone else's by now
    const first = this.queue.shift();
    if (first === undefined) {
      this.change({ task: null, draft: blank, gap: null, phase: "loading" });
    } else {
      this.show(first.task);
    }
    void this.fill();
  }

  private show(task: Task, draft?: Draft): void {
    const seen = Number(recall(this.rubricKey()) ?? task.rubric);
    const newRubric = this.newRubric || task.rubric > seen;
    this.watch = { since: performance.now(), seconds: 0 };
    this.settledAt = performance.now() + SETTLE;
    this.untouched = draft ?? this.savedDraft(task);
    this.change({ task, draft: this.untouched, gap: null, phase: "rating", newRubric });
    if (!newRubric) memorise(this.rubricKey(), String(task.rubric));
  }

  // -------------------------------------------------------------- tasks ahead

  async fill(): Promise<void> {
    if (this.queue.length >= AHEAD) return;
    this.missed = this.fetching;
    if (this.fetching) return;
    this.fetching = true;
    clearTimeout(this.again);
    const before = this.known(); // what is answered while the reply is on its way may still stand in it
    try {
      const held = this.queue.length + (this.task === null ? 0 : 1) + this.mood.waiting;
      const { tasks } = await call<{ tasks: Task[] }>("POST", "/api/v1/tasks/next", { n: Math.min(4, held + AHEAD) });
      this.take(tasks.filter((task) => !before.has(task.id)));
    } catch (error) {
      if (this.task === null) this.failed(error);
      if (!(error instanceof Refusal) || error.passing) this.again = window.setTimeout(() => void this.fill(), 3000);
    } finally {
      this.fetching = false;
    }
    if (this.missed) void this.fill();
  }

  private take(tasks: Task[]): void {
    const known = this.known();
    for (const task of tasks.filter((each) => !known.has(each.id))) this.queue.push({ task, until: this.until(task) });
    if (this.task !== null) return;
    const first = this.queue.shift();
    if (first !== undefined) {
      if (this.phase === "empty") void this.look(); // what is new may be what a run waits for
      this.show(first.task);
      void this.fill();
    } else {
      this.change({ phase: "empty" });
      const soon = performance.now() - this.ran < RUN_IS_NEAR ? SOON_AGAIN : EMPTY_AGAIN;
      this.again = window.setTimeout(() => void this.fill(), this.mood.waiting > 0 ? 500 : soon);
    }
  }

  private known(): Set<string> {
    return new Set([...this.queue.map((each) => each.task.id), ...this.outbox.tasks, ...this.elsewhere, this.task?.id ?? ""]);
  }

  private until(task: Task): number {
    return performance.now() + task.lease_seconds * 900;
  }

  // -------------------------------------------------------------- the frame around it

  async setLanguage(language: Language): Promise<void> {
    this.change({ language });
    document.documentElement.lang = language === "zh" ? "zh-Hans" : language;
    await call("POST", "/api/v1/language", { language }).catch(() => undefined); // the page has changed; the account may later
  }

  async openGuidelines(): Promise<void> {
    if (this.guidelines === null || this.newRubric) {
      const guidelines = await call<Guidelines>("GET", "/api/v1/guidelines").catch(() => null);
      if (guidelines === null) return;
      this.change({ guidelines });
      memorise(this.rubricKey(), String(guidelines.version));
    }
    this.change({ newRubric: false });
  }

  private async keepRefused(refused: Refused): Promise<void> {
    const told = withTexts(refused, this.past.find((past) => past.id === refused.sending.body["id"])?.task);
    await this.shelf.put("history", placeOf(told), told);
    if (refused.sending.path.endsWith("/judgements")) this.count(-1, refused.sending.task);
    this.change({ refused: [...this.refused, told] });
  }

  discard(refused: Refused): void {
    void this.shelf.remove("history", placeOf(refused));
    this.change({ refused: this.refused.filter((each) => each !== refused) });
  }

  retry(): void {
    clearTimeout(this.again);
    if (this.me === null) return void this.start();
    this.outbox.retry();
    void this.fill();
  }

  private poll(): void {
    const wait = this.deadline === null ? 45_000 : 10_000;
    setTimeout(async () => {
      if (document.visibilityState === "visible") await this.look();
      this.poll();
    }, wait);
  }

  private look(): Promise<void> {
    return call<Me>("GET", "/api/v1/me").then((me) => this.meet(me), () => undefined);
  }

  private meet(me: Me): void {
    const unsent = this.mood.waiting; // those are done for the rater, though not yet for the server
    const today = this.me === null || unsent === 0 ? me.today : this.me.today;
    const deadline = me.waiting === null ? null : { ...me.waiting, at: performance.now() + me.waiting.deadline_seconds * 1000 };
    if (deadline !== null) this.ran = performance.now();
    this.change({ me: { ...me, today }, deadline });
  }

  /** So many answers more, here and in other tabs; `done`: the task need not be asked there. */
  private count(by: number, task: string, done = true): void {
    this.tabs.tell(task, done, by);
    this.add(by);
  }

  private add(by: number): void {
    if (this.me === null || by === 0) return;
    const done = Math.max(0, this.me.today.done + by);
    const deadline = this.deadline && { ...this.deadline, needed: Math.max(0, this.deadline.needed - by) };
    this.change({ me: { ...this.me, today: { ...this.me.today, done } }, deadline });
  }

  private sent(sending: Sending, reply: { extra?: boolean } | null): void {
    if (sending.path.endsWith("/judgements") && reply?.extra === true) this.say("said_extra");
    if (this.task === null && this.phase !== "loading") void this.fill();
  }

  /** A second tab had given the same answer before: that one stands, and is the one to take back later. */
  private async otherStands(mine: string, stands: string): Promise<void> {
    const last = this.past.find((past) => past.id === mine);
    if (last === undefined) return;
    last.id = stands;
    await this.shelf.put("history", last.key, last);
  }

  private failed(error: unknown): void {
    if (!(error instanceof Refusal)) throw error;
    if (error.status === 401) this.change({ phase: "signed-out" });
    else if (error.status === 507) this.change({ phase: "full", problem: null });
    else {
      const phase = error.passing ? "unreachable" : error.status === 403 ? "denied" : "error";
      this.change({ phase, problem: error.status === 0 ? null : { status: error.status, text: sentences(error.what, error.fix) } });
    }
  }

  say(word: string, count = 0): void {
    this.change({ said: { word, count, turn: this.said.turn + 1 } });
  }

  private change(part: Partial<Session>): void {
    Object.assign(this, part);
    this.onChange();
  }

  // -------------------------------------------------------------- time and memory

  /** Seconds this task was looked at: hidden tabs do not count, and no clock can jump. */
  private lap(): number {
    const running = document.visibilityState === "visible" ? (performance.now() - this.watch.since) / 1000 : 0;
    return this.watch.seconds + running;
  }

  private visibility(): void {
    const now = performance.now();
    if (document.visibilityState === "hidden") this.watch.seconds += (now - this.watch.since) / 1000;
    else {
      this.watch.since = now;
      if (this.task === null && this.me !== null) void this.fill(); // perhaps signed in again, in another tab
    }
  }

  private remember(past: Omit<Past, "key">): void {
    const kept = { ...past, key: `${this.me!.rater}/${past.id}` };
    this.past.push(kept);
    void this.shelf.put("history", kept.key, kept);
    for (const old of this.past.splice(0, Math.max(0, this.past.length - PAST))) void this.shelf.remove("history", old.key);
  }

  private saveDraft(): void {
    if (this.task !== null) memorise(this.draftKey(this.task), JSON.stringify(this.draft));
  }

  private savedDraft(task: Task): Draft {
    try {
      return { ...blank, ...(JSON.parse(recall(this.draftKey(task)) ?? "{}") as Partial<Draft>), confirmed: false };
    } catch {
      return blank;
    }
  }

  private draftKey(task: Task): string {
    return `tutelage/draft/${this.me?.rater}/${task.id}/${task.shown.join("-")}`;
  }

  private rubricKey(): string {
    return `tutelage/rubric/${this.me?.rater}/${this.me?.project.name}`;
  }
}

/** Sentences in a row; a stop is put only where there is none. */
function sentences(...parts: string[]): string {
  const said = parts.filter(Boolean);
  return said.map((part, at) => (at + 1 < said.length ? (/[。！？]$/.test(part) ? part : /[.!?]$/.test(part) ? `${part} ` : `${part}. `) : part)).join("");
}
