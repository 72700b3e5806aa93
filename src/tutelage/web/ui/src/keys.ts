// Keys by the name they are asked for: "1", "s", "?", "enter", "shift+arrowleft". Null for those that are not ours.

const NOT_OURS = new Set(["Process", "Dead", "Unidentified", "Shift", "Control", "Alt", "Meta", "CapsLock", "Tab"]);

/** Whether the rater is writing: then keys are letters. */
export function isWriting(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  if (target instanceof HTMLInputElement) return !["radio", "checkbox", "button", "submit", "range"].includes(target.type);
  return target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement || target.isContentEditable;
}

export function keyOf(event: KeyboardEvent): string | null {
  if (event.defaultPrevented || event.repeat || event.isComposing || event.keyCode === 229) return null; // 229: an input method has it
  if (event.ctrlKey || event.metaKey || event.altKey || NOT_OURS.has(event.key)) return null;
  const digit = /^(?:Digit|Numpad)([0-9])$/.exec(event.code);
  if (digit !== null && !event.shiftKey) return digit[1]!; // also where digits want Shift, as on French keyboards
  if (/^[0-9]$/.test(event.key)) return event.key;
  const letter = /^Key([A-Z])$/.exec(event.code);
  const name = letter !== null && !/^[a-z]$/i.test(event.key) ? letter[1]! : event.key; // Cyrillic, Greek …
  return (event.shiftKey && event.key.startsWith("Arrow") ? `shift+${name}` : name).toLowerCase();
}

/** Enter and Space belong to a control that has the focus, arrows to those that use them. */
export function belongsTo(target: EventTarget | null, key: string): boolean {
  if (!(target instanceof HTMLElement)) return false;
  if (key === "enter" || key === " ") return target.closest("button, a, summary, [role=button]") !== null;
  return key.includes("arrow") && target instanceof HTMLInputElement && target.type === "range";
}
