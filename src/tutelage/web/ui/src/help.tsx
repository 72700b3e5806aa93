// The sheet behind "?": what the keys do now, how to change them, and the few settings.

import { useContext, useLayoutEffect, useRef, useState } from "preact/hooks";
import { Frame, type Settings } from "./dialogs";
import { Keys, OURS, assign, canBe, keyFor, type Keymap } from "./keymap";
import { Key } from "./key";
import type { Task } from "./types";
import { useWords, type Say } from "./words";

type Properties = { task: Task | null; settings: Settings; setSettings: (settings: Settings) => void; setKeymap: (map: Keymap) => void; close: () => void };

export function HelpDialog({ task, settings, setSettings, setKeymap, close }: Properties) {
  const say = useWords();
  const map = useContext(Keys);
  const [changing, setChanging] = useState(false);
  const [asked, ask] = useState<string | null>(null);
  const onKey = (key: string | null, pressed: string): boolean => {
    if (asked !== null) {
      if (canBe(pressed)) setKeymap(assign(map, asked, pressed));
      if (canBe(pressed) || pressed === "escape") ask(null);
      return true;
    }
    return key === "?" && (close(), true);
  };
  return (
    <Frame name="help" title={say("help_title")} close={close} onKey={onKey} stays={asked !== null}>
      {changing ? <Change asked={asked} ask={ask} /> : (
        <>
          {task !== null && <KeyList title={say("help_task")} keys={keysOfKind(task)} />}
          <KeyList title={say("help_always")} keys={ALWAYS} />
        </>
      )}
      <div class="key-tools">
        <button type="button" class="button small" aria-pressed={changing} onClick={() => (ask(null), setChanging(!changing))}>{say(changing ? "keys_done" : "keys_change")}</button>
        {Object.keys(map).length > 0 && <button type="button" class="link-button" onClick={() => (ask(null), setKeymap({}))}>{say("keys_reset")}</button>}
      </div>
      <section class="settings">
        <h3>{say("settings")}</h3>
        <label class="check"><input type="checkbox" checked={settings.keys} onChange={(event) => setSettings({ ...settings, keys: event.currentTarget.checked })} /><span>{say("settings_keys")}</span></label>
        <div class="segments" role="group" aria-label={say("settings_theme")}>
          {(["", "light", "dark"] as const).map((theme) => <button type="button" aria-pressed={settings.theme === theme} onClick={() => setSettings({ ...settings, theme })}>{say(`theme_${theme || "system"}`)}</button>)}
        </div>
      </section>
      <SignOut />
    </Frame>
  );
}

/** The way back is a new invitation, so it is asked once more; the key and the click that ask meet "stay" the next time. */
function SignOut() {
  const say = useWords();
  const [sure, ask] = useState(false);
  const next = useRef<HTMLButtonElement>(null);
  const moved = useRef(false);
  useLayoutEffect(() => {
    if (moved.current) next.current?.focus();
    moved.current = true;
  }, [sure]);
  if (!sure) return <div class="sheet-foot"><button type="button" class="button small" data-test="sign-out" ref={next} onClick={() => ask(true)}>{say("sign_out")}</button></div>;
  return (
    <form method="post" action="/logout" class="sheet-foot sign-out">
      <p class="small" role="alert">{say("sign_out_sure")}</p>
      <button type="submit" class="button small danger">{say("sign_out")}</button>
      <button type="button" class="button small" ref={next} onClick={() => ask(false)}>{say("stay")}</button>
    </form>
  );
}

/** Every key that can be another one; a click, then the new key. */
function Change({ asked, ask }: { asked: string | null; ask: (ours: string | null) => void }) {
  const say = useWords();
  const map = useContext(Keys);
  return (
    <section>
      <h3>{say("keys_change")}</h3>
      <p class="muted small" role="status">{asked === null ? say("keys_how") : say("keys_press", { name: purpose(say, asked) })}</p>
      <div class="key-grid">
        {OURS.map((ours) => (
          <button type="button" class={`key-change ${map[ours] === undefined ? "" : "changed"}`} aria-pressed={asked === ours} aria-label={say("keys_of", { name: purpose(say, ours), key: keyFor(map, ours).toUpperCase() })} data-key={ours} onClick={() => ask(asked === ours ? null : ours)}>
            <span>{purpose(say, ours)}</span>{asked === ours ? <kbd class="asked">…</kbd> : <Key of={ours} />}
          </button>
        ))}
      </div>
    </section>
  );
}

const PURPOSE: Record<string, string> = {
  "=": "help_equal", k: "keep", e: "help_edit", z: "undo", s: "skip", c: "comment", f: "flag", m: "help_raw", d: "help_diff", p: "help_prompt", g: "guidelines", "?": "help",
};

function purpose(say: Say, ours: string): string {
  const word = PURPOSE[ours];
  return word === undefined ? say("keys_number", { number: ours }) : say(word);
}

type KeyLine = [keys: string[], word: string];

const ALWAYS: KeyLine[] = [
  [["z"], "undo"], [["s"], "skip"], [["c"], "comment"], [["f"], "flag"], [["m"], "help_raw"], [["d"], "help_diff"], [["p"], "help_prompt"], [["g"], "guidelines"], [["Esc"], "help_leave"],
];

function KeyList({ title, keys }: { title: string; keys: KeyLine[] }) {
  const say = useWords();
  return (
    <section>
      <h3>{title}</h3>
      <dl class="keys">{keys.map(([names, word]) => <div><dt>{names.map((name) => (OURS.includes(name) ? <Key of={name} /> : <kbd>{name}</kbd>))}</dt><dd>{say(word)}</dd></div>)}</dl>
    </section>
  );
}

function keysOfKind(task: Task): KeyLine[] {
  const { tie, both_bad, strength } = task.options;
  const some = (on: boolean, line: KeyLine): KeyLine[] => (on ? [line] : []);
  const last = `${task.candidates.length}`;
  switch (task.kind) {
    case "pair":
      return [[["1", "2"], "help_pick"], ...some(strength > 0, [["1", "…", String(strength)], "help_strength"]), ...some(tie, [["3", "0"], "tie"]), ...some(both_bad, [["9"], "both_bad"]), [["←", "→", "↵"], "help_slide"]];
    case "best":
      return [[["1", "…", last], "help_best"], ...some(both_bad, [["0"], "all_bad"])];
    case "ranking":
      return [[["1", "…", last], "help_place"], [["←", "→"], "help_cursor"], [["⇧ ←", "⇧ →"], "help_move"], ...some(tie, [["="], "help_equal"]), [["⌫"], "take_out"], ...some(both_bad, [["0"], "all_bad"]), [["k"], "keep"], [["↵"], "send"]];
    case "scores":
      return [[["0", "…", "9"], "help_score"], [["↑", "↓"], "help_aspect"], [["←", "→"], "help_nudge"], [["⌫"], "help_clear"], [["k"], "help_keep_slider"], [["↵"], "send"]];
    case "edit":
      return [[["e"], "help_edit"], [["Ctrl ↵"], "send"], [["k"], "help_keep_edit"]];
  }
}
