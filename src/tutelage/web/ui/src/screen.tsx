// The whole screen, and what each key does on it.

import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { press } from "./answers";
import { FlagsDialog, GuidelinesDialog, SkipDialog, type Dialog, type Settings } from "./dialogs";
import { Banners, Header, NoTask } from "./frame";
import { HelpDialog } from "./help";
import { Key } from "./key";
import { Keys, oursOf, useKeyNames, useKeymap, type Keymap } from "./keymap";
import { belongsTo, isWriting, keyOf } from "./keys";
import { memorise, recall } from "./memo";
import { RefusedDialog } from "./refused";
import type { Session } from "./session";
import { Answers, Prompt, Scores, type View } from "./task";
import type { Boot, Task } from "./types";
import { Verdict } from "./verdict";
import { Words, sayIn, useWords } from "./words";

export function Screen({ session, boot }: { session: Session; boot: Boot }) {
  const [dialog, setDialog] = useState<Dialog>(null);
  const [view, setView] = useState<View>({ raw: false, diff: false, whole: false });
  const [noting, setNoting] = useState(false);
  const [settings, setSettings] = useSettings(boot);
  const say = sayIn(boot.words, session.language);
  const task = session.phase === "rating" ? session.task : null;

  useLayoutEffect(() => {
    setNoting(false);
    setView((now) => ({ ...now, whole: false }));
  }, [task?.id]);
  const [keymap, setKeymap] = useKeymap(session.me?.rater ?? "");
  useKeys({ session, dialog, settings, keymap, view, setView, setDialog, setNoting });

  const close = () => setDialog(null);
  return (
    <Keys.Provider value={keymap}><Words.Provider value={say}>
      <a class="skip-link" href="#task">{say("to_task")}</a>
      <Header session={session} open={setDialog} />
      <Banners session={session} open={setDialog} />
      <main id="task" class="frame" tabIndex={-1} data-phase={session.phase} data-task={task?.id} data-kind={task?.kind}>
        {task === null ? <NoTask session={session} /> : (
          <>
            <TaskHead task={task} view={view} setView={setView} />
            <div class={task.kind === "scores" ? "beside" : ""}>
              <div>
                <Prompt task={task} view={view} setView={setView} />
                <Answers session={session} task={task} view={view} />
              </div>
              {task.kind === "scores" && <Scores session={session} task={task} />}
            </div>
          </>
        )}
      </main>
      {task !== null && <Verdict session={session} task={task} open={setDialog} noting={noting} setNoting={(on) => startNote(on, setNoting)} />}
      <p class="visually-hidden" role="status" aria-live="polite">{session.said.word !== "" && say(session.said.word, { count: session.said.count }) + (session.said.turn % 2 ? "\u00a0" : "")}</p>
      {dialog === "help" && <HelpDialog task={task} settings={settings} setSettings={setSettings} setKeymap={setKeymap} close={close} />}
      {dialog === "guidelines" && <GuidelinesDialog session={session} close={close} />}
      {dialog === "refused" && <RefusedDialog session={session} close={close} />}
      {dialog === "skip" && task !== null && <SkipDialog session={session} close={close} />}
      {dialog === "flags" && task !== null && <FlagsDialog session={session} task={task} close={close} />}
    </Words.Provider></Keys.Provider>
  );
}

function TaskHead({ task, view, setView }: { task: Task; view: View; setView: (view: View) => void }) {
  const say = useWords();
  const key = useKeyNames();
  const title = useRef<HTMLHeadingElement>(null);
  useLayoutEffect(() => {
    scrollTo({ top: 0, behavior: "instant" });
    title.current?.focus({ preventScroll: true }); // a screen reader starts here, and no button keeps the last Enter
  }, [task.id]);
  const several = task.candidates.length > 1 || task.kind === "edit";
  return (
    <div class="task-head">
      <h1 ref={title} tabIndex={-1}>{say(`ask_${task.kind}`, { count: task.candidates.length })}</h1>
      <div class="segments" role="group" aria-label={say("view")}>
        <button type="button" aria-pressed={view.raw} aria-keyshortcuts={key("m")} onClick={() => setView({ ...view, raw: !view.raw })}>{say("raw")} <Key of="m" /></button>
        {several && <button type="button" aria-pressed={view.diff} aria-keyshortcuts={key("d")} onClick={() => setView({ ...view, diff: !view.diff })}>{say("diff")} <Key of="d" /></button>}
      </div>
    </div>
  );
}

function startNote(on: boolean, setNoting: (on: boolean) => void): void {
  setNoting(on);
  if (on) requestAnimationFrame(() => document.querySelector<HTMLTextAreaElement>("#comment")?.focus());
}

function useSettings(boot: Boot): [Settings, (settings: Settings) => void] {
  const [settings, set] = useState<Settings>({ keys: recall("tutelage/keys") !== "off", theme: boot.theme });
  return [settings, (next) => {
    memorise("tutelage/keys", next.keys ? null : "off");
    if (next.theme === "") delete document.documentElement.dataset["theme"];
    else document.documentElement.dataset["theme"] = next.theme;
    if (next.theme !== settings.theme) void tellTheme(next.theme || "system");
    set(next);
  }];
}

/** The server's other pages take the same colours; the same form as theirs. */
async function tellTheme(theme: string): Promise<void> {
  await fetch("/theme", { method: "POST", body: new URLSearchParams({ theme, back: "/rate" }), redirect: "manual" }).catch(() => undefined);
}

type KeyWorld = {
  session: Session;
  dialog: Dialog;
  settings: Settings;
  keymap: Keymap;
  view: View;
  setView: (view: View) => void;
  setDialog: (dialog: Dialog) => void;
  setNoting: (on: boolean) => void;
};

function useKeys(world: KeyWorld): void {
  const now = useRef(world);
  now.current = world;
  useEffect(() => {
    const listen = (event: KeyboardEvent) => onKey(now.current, event);
    document.addEventListener("keydown", listen);
    document.addEventListener("click", letGo);
    return () => {
      document.removeEventListener("keydown", listen);
      document.removeEventListener("click", letGo);
    };
  }, []);
}

/** A button that was clicked with a pointer gives the keyboard back, so that Enter sends and does not press it again. */
function letGo(event: MouseEvent): void {
  const button = event.detail > 0 && event.target instanceof Element ? event.target.closest("button") : null;
  if (button !== null && button.closest("dialog") === null) button.blur();
}

function onKey(world: KeyWorld, event: KeyboardEvent): void {
  const { session, dialog } = world;
  if (dialog !== null) return;
  if (isWriting(event.target)) return onWritingKey(session, event);
  const pressed = keyOf(event);
  const key = pressed === null ? null : oursOf(world.keymap, pressed);
  if (key === null || !world.settings.keys || belongsTo(event.target, key)) return;
  if (performance.now() < session.settledAt && /^[0-9]$|^enter$|^k$/.test(key)) return event.preventDefault(); // meant for the task before
  if (act(world, key)) event.preventDefault();
}

/** In a field keys are letters; Escape leaves it, Ctrl or Cmd with Enter sends. */
function onWritingKey(session: Session, event: KeyboardEvent): void {
  if (event.isComposing || event.keyCode === 229) return;
  const field = event.target as HTMLElement;
  if (event.key === "Escape") field.blur();
  else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    field.blur();
    session.submit();
  } else if (event.key === "Enter" && field instanceof HTMLInputElement) {
    field.blur();
    session.revise({ at: Math.min((session.task?.aspects.length ?? 1) - 1, session.draft.at + 1) });
  }
}

/** Whether the key did something. */
function act({ session, view, setView, setDialog, setNoting }: KeyWorld, key: string): boolean {
  const task = session.phase === "rating" ? session.task : null;
  if (key === "?") return setDialog("help"), true;
  if (key === "g") return setDialog("guidelines"), true;
  if (key === "z") return session.undo(), true;
  if (task === null) return false;
  const step = press(task, session.draft, key);
  if (step !== null) return session.step(step), true;
  switch (key) {
    case "enter": return session.submit(), true;
    case "k": return session.keepUntouched(), true;
    case "m": return setView({ ...view, raw: !view.raw }), true;
    case "d": return setView({ ...view, diff: !view.diff }), true;
    case "p": return setView({ ...view, whole: !view.whole }), true;
    case "s": return setDialog("skip"), true;
    case "f": return task.options.flags.length > 0 && (setDialog("flags"), true);
    case "c": return task.options.comment && (startNote(true, setNoting), true);
    case "e": return focusEditor();
    default: return /^[0-9]$/.test(key) && focusNumber(session);
  }
}

function focusEditor(): boolean {
  const field = document.querySelector<HTMLTextAreaElement>("#edit");
  field?.focus();
  return field !== null;
}

/** A digit on a slider starts a number; the key itself then types into the field. */
function focusNumber(session: Session): false {
  const aspect = session.task?.aspects[session.draft.at];
  const lines = [...document.querySelectorAll<HTMLElement>("[data-aspect]")];
  const field = lines.find((line) => line.dataset["aspect"] === aspect?.name)?.querySelector<HTMLInputElement>("input[type=number]");
  if (field) {
    field.value = "";
    field.focus();
  }
  return false;
}
