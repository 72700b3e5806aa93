// The cap of a key, as this rater has it.

import { useKeyNames } from "./keymap";

export function Key({ of }: { of: string }) {
  const name = useKeyNames();
  return <kbd>{name(of).toUpperCase()}</kbd>;
}
