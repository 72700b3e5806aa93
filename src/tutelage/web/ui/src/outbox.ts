// Everything the rater did goes out in its order, each thing until the server has acknowledged it, also after a restart.
//
//   add ──► shelf (IndexedDB) ──► send ──► acknowledged: off the shelf
//                                  │
//                                  ├── no connection, 429, 5xx: again, later and later (0.5 s … 15 s)
//                                  ├── 401: wait until the rater has signed in again
//                                  └── refused for good: kept on the shelf until the rater has seen it (refused.tsx)

import { Refusal, call } from "./api";
import { newId } from "./ids";
import type { Shelf } from "./shelf";
import type { Task } from "./types";

export type Sending = { key: string; path: string; body: Record<string, unknown>; task: string; about?: string };
export type Mood = { waiting: number; trouble: "" | "offline" | "full" | "busy" | "signed-out" };
export type Refused = { sending: Sending; status: number; what: string; fix: string; at?: number; texts?: string[] };

const MOST = 400; // letters of a question or an answer, enough to know it again

/** Where a refused one lies on the shelf. */
export const placeOf = (refused: Refused): string => `refused/${refused.sending.key}`;

/** The last thing that was said to the model. */
export const askedIn = (task: Task): string => cut(task.prompt.at(-1)?.text ?? "");

/** With the answers that it is about, if the page still knows the task. */
export function withTexts(refused: Refused, task: Task | undefined): Refused {
  return task === undefined ? refused : { ...refused, texts: task.candidates.map((candidate) => cut(candidate.text)) };
}

function cut(text: string): string {
  return text.length > MOST ? `${text.slice(0, MOST)}…` : text;
}

export class Outbox {
  private queue: Sending[] = [];
  private trouble: Mood["trouble"] = "";
  private pause = 0; // milliseconds until the next try after a failure
  private timer = 0;
  private running = false;

  constructor(
    private readonly shelf: Shelf,
    private readonly rater: string,
    private readonly onMood: (mood: Mood) => void,
    private readonly onSent: (sending: Sending, reply: unknown) => void,
    private readonly onRefused: (refused: Refused) => Promise<void>,
    private readonly onOther: (mine: string, stands: string) => Promise<void>,
  ) {
    addEventListener("online", () => this.retry());
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.retry());
  }

  /** Takes up what an earlier page left behind. */
  async load(): Promise<void> {
    this.queue = await this.shelf.all<Sending>("outbox", `${this.rater}/`);
    this.tell();
    void this.run();
  }

  get tasks(): Set<string> {
    return new Set(this.queue.map((sending) => sending.task));
  }

  /** `about`: what was asked, for the rater to read should it be refused. */
  async add(path: string, body: Record<string, unknown>, task: string, about: string): Promise<void> {
    const sending = { key: `${this.rater}/${newId()}`, path, body, task, about };
    this.queue.push(sending);
    this.tell();
    await this.shelf.put("outbox", sending.key, sending);
    void this.run();
  }

  /** What waits for judgement `from` is about judgement `to`, also on the shelf. */
  private async rename(from: string, to: string): Promise<void> {
    for (const sending of this.queue.filter((each) => each.path.includes(from))) {
      sending.path = sending.path.replace(from, to);
      await this.shelf.put("outbox", sending.key, sending);
    }
    await this.onOther(from, to);
  }

  retry(): void {
    clearTimeout(this.timer);
    this.pause = 0;
    void this.run();
  }

  private async run(): Promise<void> {
    if (this.running) return;
    this.running = true;
    clearTimeout(this.timer);
    try {
      while (this.queue[0] !== undefined && (await this.send(this.queue[0])));
    } finally {
      this.running = false;
    }
  }

  /** Whether to go on with the next one now. */
  private async send(sending: Sending): Promise<boolean> {
    let reply: unknown = null;
    try {
      reply = await call("POST", sending.path, sending.body);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      if (error.passing || error.status === 401) return this.stumble(error);
      await this.onRefused({ sending, status: error.status, what: error.what, fix: error.fix, at: Date.now() });
    }
    const mine = String(sending.body["id"]);
    const stands = (reply as { id?: string } | null)?.id ?? mine;
    if (stands !== mine) await this.rename(mine, stands); // first: this page may be closed after each line
    this.queue.shift();
    this.pause = 0;
    this.trouble = "";
    await this.shelf.remove("outbox", sending.key);
    this.tell();
    this.onSent(sending, reply);
    return true;
  }

  private stumble(error: Refusal): false {
    this.trouble = error.status === 401 ? "signed-out" : error.status === 507 ? "full" : error.status === 0 ? "offline" : "busy";
    this.pause = Math.min(15_000, Math.max(this.pause * 2, 500));
    const wait = Math.max(this.pause * (0.75 + Math.random() / 2), error.retryAfter * 1000);
    this.timer = window.setTimeout(() => void this.run(), wait);
    this.tell();
    return false;
  }

  private tell(): void {
    this.onMood({ waiting: this.queue.length, trouble: this.queue.length > 0 ? this.trouble : "" });
  }
}
