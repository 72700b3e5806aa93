// What opens over the task: the guidelines, the reasons to skip, the flags; the frame of the help (help.tsx) too.

import type { ComponentChildren } from "preact";
import { useContext, useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { Icon } from "./icons";
import { Key } from "./key";
import { Keys, oursOf } from "./keymap";
import { keyOf, isWriting } from "./keys";
import type { Reason, Session } from "./session";
import type { Task } from "./types";
import { flagName } from "./verdict";
import { useWords } from "./words";

export type Dialog = "help" | "guidelines" | "skip" | "flags" | "refused" | null;
export type Settings = { keys: boolean; theme: "" | "light" | "dark" };

/** `onKey` is told what a key means to us (null: nothing) and what was pressed; `stays`: Escape is for it, not for closing. */
type FrameProperties = { name: string; title: string; close: () => void; onKey?: (key: string | null, pressed: string) => boolean; stays?: boolean; children: ComponentChildren };

export function Frame({ name, title, close, onKey, stays, children }: FrameProperties) {
  const say = useWords();
  const map = useContext(Keys);
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
    if (onKey?.(oursOf(map, key), key) === true) event.preventDefault();
  };
  return (
    <dialog class={`sheet ${name}`} ref={box} aria-label={title} data-test={name} onClose={close} onCancel={(event) => stays === true && event.preventDefault()} onKeyDown={press} onClick={(event) => event.target === box.current && close()}>
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
  const onKey = (key: string | null): boolean => {
    const reason = REASONS[Number(key) - 1];
    if (reason !== undefined) skip(reason);
    return reason !== undefined;
  };
  return (
    <Frame name="skip" title={say("skip_title")} close={close} onKey={onKey}>
      <div class="choices">
        {REASONS.map((reason, at) => <button type="button" class="choice" onClick={() => skip(reason)}><span>{say(`skip_${reason}`)}</span><Key of={String(at + 1)} /></button>)}
      </div>
      <label class="field"><span class="label">{say("skip_comment")}</span><textarea rows={2} dir="auto" maxLength={2000} value={comment} onInput={(event) => setComment(event.currentTarget.value)} /></label>
    </Frame>
  );
}

export function FlagsDialog({ session, task, close }: { session: Session; task: Task; close: () => void }) {
  const say = useWords();
  const chosen = session.draft.flags;
  const toggle = (flag: string) => session.revise({ flags: chosen.includes(flag) ? chosen.filter((each) => each !== flag) : [...chosen, flag] });
  const onKey = (key: string | null): boolean => {
    const flag = task.options.flags[Number(key) - 1];
    if (flag !== undefined) toggle(flag);
    else if (key === "f" || key === "enter") close();
    else return false;
    return true;
  };
  return (
    <Frame name="flags" title={say("flag_title")} close={close} onKey={onKey}>
      <div class="choices">
        {task.options.flags.map((flag, at) => <button type="button" class="choice" role="checkbox" aria-checked={chosen.includes(flag)} onClick={() => toggle(flag)}><span class="box"><Icon name="check" /></span><span>{flagName(say, flag)}</span><Key of={String(at + 1)} /></button>)}
      </div>
      <div class="sheet-foot"><button type="button" class="button primary" onClick={close}>{say("done")} <Key of="f" /></button></div>
    </Frame>
  );
}
