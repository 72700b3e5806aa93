// Small things this browser remembers; where storage is full or forbidden they are forgotten, nothing more.

export function recall(key: string): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

export function memorise(key: string, value: string | null): void {
  try {
    if (value === null) localStorage.removeItem(key);
    else localStorage.setItem(key, value);
  } catch {
    // the draft of a closed page is lost, no answer is
  }
}
