// Which key a rater presses for what: every key of ours may be changed for another; kept in this browser, per rater.

import { createContext } from "preact";
import { useContext, useEffect, useState } from "preact/hooks";
import { memorise, recall } from "./memo";

/** Our key → the rater's key, where it is another one. No two of ours ever share a key. */
export type Keymap = Readonly<Record<string, string>>;

/** The keys that can be changed; Enter, Escape, Backspace and arrows stay what they are everywhere. */
export const OURS = [..."1234567890=", ..."kezscfmdpg?"];

export const keyFor = (map: Keymap, ours: string): string => map[ours] ?? ours;

/** What a pressed key means to us; null for a key of ours that was given another place. */
export function oursOf(map: Keymap, pressed: string): string | null {
  const found = Object.keys(map).find((ours) => map[ours] === pressed);
  return found ?? (pressed in map ? null : pressed);
}

export function canBe(pressed: string): boolean {
  return [...pressed].length === 1 && pressed.trim() !== "";
}

/** `pressed` means `ours` from now on; what it meant before gets the key that became free. */
export function assign(map: Keymap, ours: string, pressed: string): Keymap {
  const holder = oursOf(map, pressed);
  const next: Record<string, string> = { ...map, [ours]: pressed };
  if (holder !== null && holder !== ours && OURS.includes(holder)) next[holder] = keyFor(map, ours);
  return Object.fromEntries(Object.entries(next).filter(([name, key]) => name !== key));
}

const shelf = (rater: string): string => `tutelage/keymap/${rater}`;

function read(rater: string): Keymap {
  try {
    const kept = Object.entries(JSON.parse(recall(shelf(rater)) ?? "{}") as Record<string, unknown>);
    const right = kept.filter(([ours, key]) => OURS.includes(ours) && typeof key === "string" && canBe(key)) as [string, string][];
    const map = Object.fromEntries(right);
    const used = OURS.map((ours) => keyFor(map, ours));
    return new Set(used).size === used.length ? map : {};
  } catch {
    return {};
  }
}

export function useKeymap(rater: string): [Keymap, (map: Keymap) => void] {
  const [map, set] = useState<Keymap>({});
  useEffect(() => set(rater === "" ? {} : read(rater)), [rater]);
  return [map, (next) => {
    memorise(shelf(rater), Object.keys(next).length === 0 ? null : JSON.stringify(next));
    set(next);
  }];
}

export const Keys = createContext<Keymap>({});

/** `name("z")` → the key that this rater presses for it, for `aria-keyshortcuts`. */
export function useKeyNames(): (ours: string) => string {
  const map = useContext(Keys);
  return (ours) => keyFor(map, ours);
}
