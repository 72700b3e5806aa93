// What the server will never take: a quiet line on the page, and a sheet that shows each answer, to copy or discard.
// It stays on the shelf, also after a restart, until the rater discards it.

import { useRef } from "preact/hooks";
import { Frame } from "./dialogs";
import { Icon } from "./icons";
import type { Refused } from "./outbox";
import type { Session } from "./session";
import { letterOf } from "./task";
import { flagName } from "./verdict";
import { useWords, type Say } from "./words";

export function RefusedNotice({ session, open }: { session: Session; open: () => void }) {
  const say = useWords();
  const [first] = session.refused;
  const one = session.refused.length === 1 && first !== undefined;
  return (
    <div class="notice warn" data-test="refused" role="status">
      <Icon name="warn" />
      <div><p>{one ? say("refused", { what: reason(say, first) }) : say("refused_many", { count: session.refused.length })}</p></div>
      <button type="button" class="button small" aria-haspopup="dialog" onClick={open}>{say("refused_show")}</button>
    </div>
  );
}

export function RefusedDialog({ session, close }: { session: Session; close: () => void }) {
  const say = useWords();
  const discard = (refused: Refused) => {
    session.discard(refused);
    if (session.refused.length === 0) close();
  };
  return (
    <Frame name="refused" title={say("refused_title")} close={close}>
      <p class="muted small">{say("refused_note")}</p>
      {session.refused.map((refused) => <Entry key={refused.sending.key} refused={refused} discard={() => discard(refused)} />)}
    </Frame>
  );
}

function Entry({ refused, discard }: { refused: Refused; discard: () => void }) {
  const say = useWords();
  const field = useRef<HTMLTextAreaElement>(null);
  const text = linesOf(say, refused).join("\n");
  const when = refused.at === undefined ? "" : new Date(refused.at).toLocaleString(say.language === "zh" ? "zh-CN" : "en-GB", { dateStyle: "medium", timeStyle: "short" });
  return (
    <section data-test="refused-entry">
      <h3>{when}</h3>
      <p>{reason(say, refused)}</p>
      <textarea ref={field} readOnly rows={Math.min(9, text.split("\n").length + 2)} dir="auto" aria-label={say("refused_text")} value={text} />
      <div class="sheet-foot">
        <button type="button" class="button small" onClick={() => copy(field.current!)}>{say("copy")}</button>
        <button type="button" class="button small danger" onClick={discard}>{say("discard")}</button>
      </div>
    </section>
  );
}

/** Why, in the rater's language, or in the server's words where we have none. */
function reason(say: Say, { status, what, fix }: Refused): string {
  const word = `refused_${status}`;
  const ours = say(word);
  return ours === word ? [what, fix].filter(Boolean).join(": ") : ours;
}

/** What was asked and what was said about it, line by line. */
function linesOf(say: Say, { sending, texts = [] }: Refused): string[] {
  const { body, path, about = "" } = sending;
  const line = (word: string, text: string): string[] => (text === "" ? [] : [say("refused_line", { name: say(word), text })]);
  return [...line("refused_asked", about), ...line("your_answer", saidIn(say, path, body, texts)), ...rankLines(say, body, texts), ...line("comment", String(body["comment"] ?? "")), ...line("flag", ((body["flags"] as string[] | undefined) ?? []).map((flag) => flagName(say, flag)).join(", "))];
}

function saidIn(say: Say, path: string, body: Record<string, unknown>, texts: string[]): string {
  if (path.endsWith("/undo")) return say("undo");
  if (path.endsWith("/skip")) return `${say("skip")}, ${say(`skip_${String(body["reason"])}`)}`;
  if (body["both_bad"] === true) return say(texts.length > 2 ? "all_bad" : "both_bad");
  if (typeof body["edit"] === "string") return body["edit"];
  return Object.entries((body["scores"] as Record<string, number> | undefined) ?? {}).map(([name, score]) => `${name} ${score}`).join(", ");
}

/** The answers in the rater's order, each after its place. */
function rankLines(say: Say, body: Record<string, unknown>, texts: string[]): string[] {
  const ranks = body["ranks"] as number[] | undefined;
  if (ranks === undefined || body["both_bad"] === true) return [];
  const places = ranks.map((_, at) => at).sort((one, other) => ranks[one]! - ranks[other]!);
  return places.map((at) => `${ranks[at]!}. ${say("answer_named", { name: letterOf(at) })}${texts[at] === undefined ? "" : `: ${texts[at]}`}`);
}

/** Where the page is not served over HTTPS, browsers lend no clipboard but to a selection. */
function copy(field: HTMLTextAreaElement): void {
  field.select();
  if (navigator.clipboard === undefined) document.execCommand("copy");
  else void navigator.clipboard.writeText(field.value).catch(() => document.execCommand("copy"));
}
