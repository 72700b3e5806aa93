// What stands around the task: name and progress, what waits, what went wrong, and the pages without a task.

import { useEffect, useState } from "preact/hooks";
import { Icon } from "./icons";
import { Key } from "./key";
import { useKeyNames } from "./keymap";
import { RefusedNotice } from "./refused";
import type { Session } from "./session";
import { useWords, type Say } from "./words";

export function Header({ session, open }: { session: Session; open: (dialog: "help" | "guidelines") => void }) {
  const say = useWords();
  const key = useKeyNames();
  const me = session.me;
  const other = say.language === "en" ? "zh" : "en";
  return (
    <header class="top">
      <div class="frame top-row">
        <a class="brand" href="/rate" aria-label="tutelage">
          <svg viewBox="0 0 24 24" aria-hidden="true"><use href="#brand-mark" /></svg>
          <span>tutelage</span>
        </a>
        {me !== null && <span class="crumb">{me.project.name}</span>}
        <span class="spring" />
        {me !== null && <Saved session={session} />}
        <nav class="top-links" aria-label={say("menu")}>
          <button type="button" class="link-button" onClick={() => open("guidelines")} aria-keyshortcuts={key("g")}>
            <Icon name="book" /><span class="wide-only">{say("guidelines")}</span>
            {session.newRubric && <span class="dot" title={say("guidelines_new")}><span class="visually-hidden">{say("guidelines_new")}</span></span>}
          </button>
          <button type="button" class="link-button" onClick={() => open("help")} aria-keyshortcuts={key("?")}>
            <Icon name="help" /><span class="wide-only">{say("help")}</span>
          </button>
          <button type="button" class="link-button" lang={other} data-test="language" onClick={() => void session.setLanguage(other)}>
            {other === "zh" ? "中文" : "English"}
          </button>
        </nav>
      </div>
      {me !== null && <Progress done={me.today.done} goal={session.phase === "empty" && me.today.done < me.today.goal ? 0 : me.today.goal} />}
    </header>
  );
}

/** `goal` is 0 where there is none, or nothing is left to reach it with. */
function Progress({ done, goal }: { done: number; goal: number }) {
  const say = useWords();
  const text = goal > 0 ? say("progress", { done, goal }) : say("progress_open", { done });
  return (
    <div class="frame day">
      <span class="day-text" data-test="progress">{text}</span>
      {goal > 0 && <progress class={done >= goal ? "done" : ""} max={goal} value={Math.min(done, goal)} aria-label={text} />}
    </div>
  );
}

/** Whether everything has reached the server. */
function Saved({ session }: { session: Session }) {
  const say = useWords();
  const { waiting, trouble } = session.mood;
  const late = useLater(waiting > 0, 600); // an answer on its way for a moment is no news
  const state = trouble !== "" ? "trouble" : waiting > 0 && late ? "sending" : "saved";
  return (
    <span class={`saved ${state}`} data-test="saved" data-waiting={waiting}>
      <Icon name={state === "trouble" ? "cloud" : "check"} />
      <span>{state === "saved" ? say("saved") : say("unsent", { count: waiting })}</span>
    </span>
  );
}

function useLater(on: boolean, milliseconds: number): boolean {
  const [late, setLate] = useState(false);
  useEffect(() => {
    if (!on) return setLate(false);
    const timer = setTimeout(() => setLate(true), milliseconds);
    return () => clearTimeout(timer);
  }, [on]);
  return late && on;
}

export function Banners({ session, open }: { session: Session; open: (dialog: "refused") => void }) {
  const say = useWords();
  const { waiting, trouble } = session.mood;
  return (
    <div class="frame banners">
      {trouble !== "" && (
        <div class={`notice ${trouble === "full" ? "bad" : "warn"}`} data-test="trouble">
          <Icon name="cloud" />
          <div><p>{say(`trouble_${trouble}`, { count: waiting })}</p></div>
          {trouble === "signed-out" ? <a class="button small" href="/rate">{say("sign_in_again")}</a> : <button type="button" class="button small" onClick={() => session.retry()}>{say("try_now")}</button>}
        </div>
      )}
      {session.refused.length > 0 && <RefusedNotice session={session} open={() => open("refused")} />}
      <Deadline session={session} />
    </div>
  );
}

/** A training run waits: how many answers it still needs, and for how long. */
function Deadline({ session }: { session: Session }) {
  const say = useWords();
  const [, tick] = useState(0);
  const deadline = session.deadline;
  useEffect(() => {
    if (deadline === null) return;
    const timer = setInterval(() => tick((count) => count + 1), 1000);
    return () => clearInterval(timer);
  }, [deadline === null]);
  if (deadline === null) return null;
  const left = Math.max(0, Math.round((deadline.at - performance.now()) / 1000));
  const others = session.phase === "empty"; // what is needed is given out first, so the rest must come from others
  const text = deadline.needed === 0 ? "waiting_met" : others ? "waiting_others" : "waiting";
  const time = left >= 3600 ? say("time_hours", { hours: Math.floor(left / 3600), minutes: Math.floor((left % 3600) / 60) }) : `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
  return (
    <div class="notice waiting" data-test="waiting" role="group" aria-label={say("waiting_label")}>
      <Icon name="clock" />
      <div><p>{say(text, { count: deadline.needed })}</p></div>
      {deadline.needed > 0 && <span class="time" aria-hidden="true">{time}</span>}
    </div>
  );
}

export function NoTask({ session }: { session: Session }) {
  const say = useWords();
  if (session.phase === "loading") return <Skeleton />;
  const goalMet = session.me !== null && session.me.today.goal > 0 && session.me.today.done >= session.me.today.goal;
  const name = session.phase === "empty" ? (goalMet ? "empty_goal" : "empty") : session.phase;
  const denied = session.phase === "denied"; // by the quiz, say: the server's words are the text
  const arrived = session.phase === "unreachable" && session.me !== null && session.mood.waiting === 0;
  return (
    <section class="empty card" data-test={session.phase} tabIndex={-1}>
      <Icon name={session.phase === "empty" || denied ? "cup" : session.phase === "signed-out" ? "clock" : "cloud"} />
      <h1>{say(`${name}_title`)}</h1>
      {denied ? <p>{session.problem?.text}</p> : <p>{say(arrived ? "unreachable_all_text" : `${name}_text`, { count: session.me?.today.done ?? 0 })}</p>}
      {session.problem !== null && !denied && <p class="problem">{problemIn(say, session.problem)}</p>}
      <div class="actions">
        {session.phase === "signed-out" ? <a class="button primary" href="/">{say("sign_in_again")}</a> : <button type="button" class="button primary" onClick={() => session.retry()}>{say(session.phase === "empty" || denied ? "look_again" : "try_now")}</button>}
        {session.undoable && session.phase === "empty" && <button type="button" class="button" onClick={() => session.undo()}>{say("undo")} <Key of="z" /></button>}
      </div>
    </section>
  );
}

/** In the reader's language; in the server's words only where we have none for that status. */
function problemIn(say: Say, { status, text }: { status: number; text: string }): string {
  const word = `problem_${status}`;
  const ours = say(word);
  return ours === word ? text : ours;
}

function Skeleton() {
  const say = useWords();
  return (
    <div class="skeleton" data-test="loading" aria-busy="true">
      <span class="visually-hidden">{say("loading")}</span>
      <div class="ghost short" /><div class="ghost prompt-ghost" />
      <div class="answers two"><div class="ghost answer-ghost" /><div class="ghost answer-ghost" /></div>
    </div>
  );
}
