// What opens over the task: the guidelines, the keys and settings, the reasons to skip, the flags.

import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { Icon } from "./icons";
import { keyOf, isWriting } from "./keys";
import type { Reason, Session } from "./session";
import type { Task } from "./types";
import { flagName } from "./verdict";
import { useWords } from "./words";

export type Dialog = "help" | "guidelines" | "skip" | "flags" | null;
export type Settings = { keys: boolean; theme: "" | "light" | "dark" };

type FrameProperties = { name: string; title: string; close: () => void; onKey?: (key: string) => boolean; children: ComponentChildren };

function Frame({ name, title, close, onKey, children }: FrameProperties) {
  const say = useWords();
  const box = useRef<HTMLDialogElement>(null);
  useLayoutEffect(() => {
    const element = box.current!;
    element.showModal();
    element.querySelector<HTMLElement>("h2")?.focus();
    return () => element.close();
  }, []);
  const press = (event: KeyboardEvent) => {
    const key = keyOf(event);
    if (key === null || isWriting(event.target)) return;
    if (onKey?.(key) === true) event.preventDefault();
  };
  return (
    <dialog class={`sheet ${name}`} ref={box} aria-label={title} data-test={name} onClose={close} onKeyDown={press} onClick={(event) => event.target === box.current && close()}>
      <div class="sheet-body">
        <header><h2 tabIndex={-1}>{title}</h2><button type="button" class="link-button" aria-label={say("close")} onClick={close}><Icon name="close" /></button></header>
        {children}
      </div>
    </dialog>
  );
}

export function GuidelinesDialog({ session, close }: { session: Session; close: () => void }) {
  const say = useWords();
  const [tried, setTried] = useState(false);
  useEffect(() => {
    void session.openGuidelines().then(() => setTried(true));
  }, []);
  const guidelines = session.guidelines;
  const html = guidelines === null ? "" : say.both(guidelines.html);
  return (
    <Frame name="guidelines" title={say("guidelines")} close={close} onKey={(key) => key === "g" && (close(), true)}>
      {guidelines === null ? <p class="muted">{say(tried ? "guidelines_unreachable" : "loading")}</p> : (
        <>
          {html === "" ? <p class="muted">{say("guidelines_none")}</p> : <div class="prose" dangerouslySetInnerHTML={{ __html: html }} />}
          <p class="muted small version">{say("version", { version: guidelines.version })}</p>
        </>
      )}
    </Frame>
  );
}

const REASONS: Reason[] = ["unclear", "too_long", "no_knowledge", "unsafe", "other"];

export function SkipDialog({ session, close }: { session: Session; close: () => void }) {
  const say = useWords();
  const [comment, setComment] = useState("");
  const skip = (reason: Reason) => {
    close();
    session.skip(reason, comment);
  };
  const onKey = (key: string): boolean => {
    const reason = REASONS[Number(key) - 1];
    if (reason !== undefined) skip(reason);
    return reason !== undefined;
  };
  return (
    <Frame name="skip" title={say("skip_title")} close={close} onKey={onKey}>
      <div class="choices">
        {REASONS.map((reason, at) => <button type="button" class="choice" onClick={() => skip(reason)}><span>{say(`skip_${reason}`)}</span><kbd>{at + 1}</kbd></button>)}
      </div>
      <label class="field"><span class="label">{say("skip_comment")}</span><textarea rows={2} dir="auto" maxLength={2000} value={comment} onInput={(event) => setComment(event.currentTarget.value)} /></label>
    </Frame>
  );
}

export function FlagsDialog({ session, task, close }: { session: Session; task: Task; close: () => void }) {
  const say = useWords();
  const chosen = session.draft.flags;
  const toggle = (flag: string) => session.revise({ flags: chosen.includes(flag) ? chosen.filter((each) => each !== flag) : [...chosen, flag] });
  const onKey = (key: string): boolean => {
    const flag = task.options.flags[Number(key) - 1];
    if (flag !== undefined) toggle(flag);
    else if (key === "f" || key === "enter") close();
    else return false;
    return true;
  };
  return (
    <Frame name="flags" title={say("flag_title")} close={close} onKey={onKey}>
      <div class="choices">
        {task.options.flags.map((flag, at) => <button type="button" class="choice" role="checkbox" aria-checked={chosen.includes(flag)} onClick={() => toggle(flag)}><span class="box"><Icon name="check" /></span><span>{flagName(say, flag)}</span><kbd>{at + 1}</kbd></button>)}
      </div>
      <div class="sheet-foot"><button type="button" class="button primary" onClick={close}>{say("done")} <kbd>F</kbd></button></div>
    </Frame>
  );
}

type HelpProperties = { task: Task | null; settings: Settings; setSettings: (settings: Settings) => void; close: () => void };

export function HelpDialog({ task, settings, setSettings, close }: HelpProperties) {
  const say = useWords();
  return (
    <Frame name="help" title={say("help_title")} close={close} onKey={(key) => key === "?" && (close(), true)}>
      {task !== null && <Keys title={say("help_task")} keys={keysOfKind(task)} />}
      <Keys title={say("help_always")} keys={[[["Z"], "undo"], [["S"], "skip"], [["C"], "comment"], [["F"], "flag"], [["M"], "help_raw"], [["D"], "help_diff"], [["P"], "help_prompt"], [["G"], "guidelines"], [["Esc"], "help_leave"]]} />
      <section class="settings">
        <h3>{say("settings")}</h3>
        <label class="check"><input type="checkbox" checked={settings.keys} onChange={(event) => setSettings({ ...settings, keys: event.currentTarget.checked })} /><span>{say("settings_keys")}</span></label>
        <div class="segments" role="group" aria-label={say("settings_theme")}>
          {(["", "light", "dark"] as const).map((theme) => <button type="button" aria-pressed={settings.theme === theme} onClick={() => setSettings({ ...settings, theme })}>{say(`theme_${theme || "system"}`)}</button>)}
        </div>
      </section>
      <form method="post" action="/logout" class="sheet-foot"><button type="submit" class="button small">{say("sign_out")}</button></form>
    </Frame>
  );
}

type KeyLine = [keys: string[], word: string];

function Keys({ title, keys }: { title: string; keys: KeyLine[] }) {
  const say = useWords();
  return (
    <section>
      <h3>{title}</h3>
      <dl class="keys">{keys.map(([names, word]) => <div><dt>{names.map((name) => <kbd>{name}</kbd>)}</dt><dd>{say(word)}</dd></div>)}</dl>
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
      return [[["1", "…", last], "help_place"], [["←", "→"], "help_cursor"], [["⇧ ←", "⇧ →"], "help_move"], ...some(tie, [["="], "help_equal"]), [["⌫"], "take_out"], ...some(both_bad, [["0"], "all_bad"]), [["K"], "keep"], [["↵"], "send"]];
    case "scores":
      return [[["0", "…", "9"], "help_score"], [["↑", "↓"], "help_aspect"], [["←", "→"], "help_nudge"], [["⌫"], "help_clear"], [["K"], "help_keep_slider"], [["↵"], "send"]];
    case "edit":
      return [[["E"], "help_edit"], [["Ctrl ↵"], "send"], [["K"], "help_keep_edit"]];
  }
}
