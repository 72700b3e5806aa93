// One text as raters see it: formatted, exact, or with the words that the other one lacks.

import type { ComponentChildren } from "preact";
import { memo } from "./once";
import type { Piece } from "./diff";

// What nobody sees but what changes the text: the same list as HIDDEN in web/text.py.
const UNSEEN = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b\u200c\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0e\ufeff\uffa0\ufff0-\ufffb\u{1d173}-\u{1d17a}\u{e0000}-\u{e0fff}]|(?<![\u2600-\u27bf\ufe0f\u{1f000}-\u{1faff}])\u200d|\u200d(?![\u2600-\u27bf\u{1f000}-\u{1faff}])/gu;

/** `text` with every unseen character shown by its number. */
export function seen(text: string): ComponentChildren {
  const parts: ComponentChildren[] = [];
  let from = 0;
  for (const hit of text.matchAll(UNSEEN)) {
    const code = `U+${hit[0].codePointAt(0)!.toString(16).toUpperCase().padStart(4, "0")}`;
    parts.push(text.slice(from, hit.index), <span class="unseen">{code}</span>);
    from = hit.index + hit[0].length;
  }
  return parts.length === 0 ? text : [...parts, text.slice(from)];
}

type Shown = { text: string; html: string; raw: boolean; pieces?: Piece[] | undefined; side?: "left" | "right" };

export function Text({ text, html, raw, pieces, side }: Shown) {
  if (pieces !== undefined) {
    return (
      <div class="words compared" dir="auto">
        {pieces.map((piece) => (piece.only ? <mark class={side}>{seen(piece.text)}</mark> : seen(piece.text)))}
      </div>
    );
  }
  return raw || html === "" ? <div class="words raw" dir="auto">{seen(text)}</div> : <Formatted html={html} />;
}

/** HTML that the server has made from Markdown and cleaned; set once, so that typing a comment costs nothing. */
const Formatted = memo(({ html }: { html: string }) => (
  <div class="words prose" dir="auto" onClick={openOutside} dangerouslySetInnerHTML={{ __html: html }} />
));

/** Links leave the task where it is. */
function openOutside(event: MouseEvent): void {
  const link = (event.target as HTMLElement).closest("a");
  if (link === null) return;
  link.target = "_blank";
  link.rel = "noopener noreferrer nofollow";
}
