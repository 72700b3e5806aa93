// One text as raters see it: formatted, exact, or with the words that the other one lacks.

import type { ComponentChildren } from "preact";
import { memo } from "./once";
import type { Piece } from "./diff";

// Characters nobody sees but that change what is read: direction marks, zero-width ones, soft hyphens, tags.
const UNSEEN = /[\u00ad\u061c\u180e\u200b\u200c\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]|(?<!\p{Extended_Pictographic}\ufe0f?)\u200d/gu;

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
      <div class="words raw" dir="auto">
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
