// Which words of one text are not in another: Myers' shortest edit script over words, in any script.

export type Piece = { text: string; only: boolean }; // only = not in the other text

const LIMIT = 1500; // edits looked for before all that is left counts as different

export function wordsOf(text: string): string[] {
  if (typeof Intl.Segmenter === "function") {
    return Array.from(new Intl.Segmenter(undefined, { granularity: "word" }).segment(text), (part) => part.segment);
  }
  return text.match(/[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}]|[\p{L}\p{N}_]+|\s+|[^\p{L}\p{N}_\s]/gu) ?? [];
}

/** Both texts in pieces, each marked when the other lacks it. */
export function differences(left: string, right: string): [Piece[], Piece[]] {
  const one = wordsOf(left);
  const two = wordsOf(right);
  let start = 0;
  while (start < one.length && start < two.length && one[start] === two[start]) start++;
  let end = 0;
  while (end < one.length - start && end < two.length - start && one.at(-1 - end) === two.at(-1 - end)) end++;
  const [onlyOne, onlyTwo] = unmatched(one.slice(start, one.length - end), two.slice(start, two.length - end));
  return [joined(one, start, onlyOne), joined(two, start, onlyTwo)];
}

/** For each word of `one` and of `two`, whether it has no partner. */
function unmatched(one: string[], two: string[]): [boolean[], boolean[]] {
  const alone: [boolean[], boolean[]] = [one.map(() => true), two.map(() => true)];
  const most = Math.min(one.length + two.length, LIMIT);
  const reach = new Int32Array(2 * most + 3); // diagonal + most + 1 → furthest word of `one`
  const trail: Int32Array[] = [];
  for (let edits = 0; edits <= most; edits++) {
    trail.push(reach.slice());
    for (let diagonal = -edits; diagonal <= edits; diagonal += 2) {
      const at = diagonal + most + 1;
      const down = diagonal === -edits || (diagonal !== edits && reach[at - 1]! < reach[at + 1]!);
      let x = down ? reach[at + 1]! : reach[at - 1]! + 1;
      while (x < one.length && x - diagonal < two.length && one[x] === two[x - diagonal]) x++;
      reach[at] = x;
      if (x >= one.length && x - diagonal >= two.length) {
        walkBack(trail, most, one.length, two.length, alone);
        return alone;
      }
    }
  }
  return alone;
}

function walkBack(trail: Int32Array[], most: number, x: number, y: number, alone: [boolean[], boolean[]]): void {
  for (let edits = trail.length - 1; edits >= 0; edits--) {
    const reach = trail[edits]!;
    const diagonal = x - y;
    const at = diagonal + most + 1;
    const down = diagonal === -edits || (diagonal !== edits && reach[at - 1]! < reach[at + 1]!);
    const before = edits === 0 ? 0 : diagonal + (down ? 1 : -1);
    const beforeX = edits === 0 ? 0 : reach[before + most + 1]!;
    const beforeY = edits === 0 ? 0 : beforeX - before;
    while (x > beforeX && y > beforeY) {
      x--;
      y--;
      alone[0][x] = false;
      alone[1][y] = false;
    }
    x = beforeX;
    y = beforeY;
  }
}

function joined(words: string[], start: number, alone: boolean[]): Piece[] {
  const pieces: Piece[] = [];
  words.forEach((text, at) => {
    const only = alone[at - start] ?? false;
    const previous = pieces.at(-1);
    if (previous !== undefined && previous.only === only) previous.text += text;
    else pieces.push({ text, only });
  });
  return pieces;
}
