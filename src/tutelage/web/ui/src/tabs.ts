// Other tabs of the same rater in this browser: what one has answered, the others need not ask again, and count too.

type Told = { rater: string; task: string; done: boolean; by: number };

export class Tabs {
  private readonly channel = typeof BroadcastChannel === "undefined" ? null : new BroadcastChannel("tutelage-rating");

  /** `onTold`: another tab has answered or skipped a task (done), or has taken that back; `by`: so many answers more. */
  constructor(private readonly rater: string, onTold: (task: string, done: boolean, by: number) => void) {
    this.channel?.addEventListener("message", ({ data }: MessageEvent<Told>) => data.rater === rater && onTold(data.task, data.done, data.by));
  }

  tell(task: string, done: boolean, by: number): void {
    this.channel?.postMessage({ rater: this.rater, task, done, by } satisfies Told);
  }
}
