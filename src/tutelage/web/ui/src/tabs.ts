// Other tabs of the same rater in this browser: what one has answered, the others need not ask again.

type Told = { rater: string; task: string; done: boolean };

export class Tabs {
  private readonly channel = typeof BroadcastChannel === "undefined" ? null : new BroadcastChannel("tutelage-rating");

  /** `onTold`: another tab has answered or skipped a task (done), or has taken that back. */
  constructor(private readonly rater: string, onTold: (task: string, done: boolean) => void) {
    this.channel?.addEventListener("message", ({ data }: MessageEvent<Told>) => data.rater === rater && onTold(data.task, data.done));
  }

  tell(task: string, done: boolean): void {
    this.channel?.postMessage({ rater: this.rater, task, done } satisfies Told);
  }
}
