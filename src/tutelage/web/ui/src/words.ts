// The words of the page in two languages, both here from the start so that switching needs no server.

import { createContext } from "preact";
import { useContext } from "preact/hooks";
import type { Both, Language } from "./types";

export type Say = ((word: string, values?: Record<string, string | number>) => string) & {
  language: Language;
  both: (text: Both | undefined, otherwise?: string) => string;
};

export function sayIn(words: Record<Language, Record<string, string>>, language: Language): Say {
  const say = (word: string, values: Record<string, string | number> = {}): string => {
    const plural = values["count"] === 1 ? words[language][`${word}_one`] : undefined;
    const text = plural ?? words[language][word] ?? words.en[word] ?? word;
    return text.replace(/\{(\w+)\}/g, (hole, name: string) => String(values[name] ?? hole));
  };
  const both = (text: Both | undefined, otherwise = ""): string => text?.[language] || text?.en || text?.zh || otherwise;
  return Object.assign(say, { language, both });
}

export const Words = createContext<Say>(sayIn({ en: {}, zh: {} }, "en"));
export const useWords = (): Say => useContext(Words);
