// The server's JSON interface: same origin, cookie session.

export class Refusal extends Error {
  constructor(
    readonly status: number, // 0 = the server was not reached
    readonly what: string,
    readonly fix: string,
    readonly retryAfter: number, // seconds, 0 = not said
  ) {
    super(what);
  }

  /** Trying again later may help: no connection, a busy, full or restarting server. */
  get passing(): boolean {
    return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500;
  }
}

/** Whose page this is; once known, the server refuses (401) what is sent while somebody else is signed in. */
let rater = "";

export function speakFor(name: string): void {
  rater = name;
}

/** The answer's JSON, or `null` for an empty one. Throws `Refusal`. */
export async function call<T>(method: "GET" | "POST", path: string, body?: unknown): Promise<T> {
  let reply: Response;
  const text = body === undefined ? undefined : JSON.stringify(body);
  try {
    reply = await fetch(path, {
      method,
      body: text,
      headers: { accept: "application/json", ...(text === undefined ? {} : { "content-type": "application/json" }), ...(rater === "" ? {} : { "tutelage-rater": rater }) },
      credentials: "same-origin",
      cache: "no-store",
      redirect: "error",
      keepalive: text !== undefined && text.length < 30_000, // a closing page still delivers
      signal: AbortSignal.timeout(20_000),
    });
  } catch (error) {
    throw new Refusal(0, String(error), "", 0);
  }
  const data: unknown = await reply.json().catch(() => null);
  if (reply.ok) {
    if (reply.status !== 204 && data === null) throw new Refusal(0, "the reply was cut off", "", 0);
    return data as T;
  }
  const error = (data as { error?: { what?: string; fix?: string } } | null)?.error;
  throw new Refusal(reply.status, error?.what ?? `HTTP ${reply.status}`, error?.fix ?? "", Number(reply.headers.get("retry-after")) || 0);
}
