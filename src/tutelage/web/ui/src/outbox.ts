// Everything the rater did goes out in its order, each thing until the server has acknowledged it, also after a restart.
//
//   add ──► shelf (IndexedDB) ──► send ──► acknowledged: off the shelf
//                                  │
//                                  ├── no connection, 429, 5xx: again, later and later (0.5 s … 15 s)
//                                  ├── 401: wait until the rater has signed in again
//                                  └── refused for good: shown to the rater, kept on the shelf under "refused"

import { Refusal, call } from "./api";
import { newId } from "./ids";
import type { Shelf } from "./shelf";

export type Sending = { key: string; path: string; body: Record<string, unknown>; task: string };
export type Mood = { waiting: number; trouble: "" | "offline" | "full" | "busy" | "signed-out" };
export type Refused = { sending: Sending; status: number; what: string; fix: string };

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
    private readonly onRefused: (refused: Refused) => void,
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

  async add(path: string, body: Record<string, unknown>, task: string): Promise<void> {
    const sending = { key: `${this.rater}/${newId()}`, path, body, task };
    this.queue.push(sending);
    this.tell();
    await this.shelf.put("outbox", sending.key, sending);
    void this.run();
  }

  /** What waits for judgement `from` is about judgement `to`. */
  rename(from: string, to: string): void {
    for (const sending of this.queue) sending.path = sending.path.replace(from, to);
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
      const refused = { sending, status: error.status, what: error.what, fix: error.fix };
      await this.shelf.put("history", `refused/${sending.key}`, refused);
      this.onRefused(refused);
    }
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
