// What travels between this page and the server, and what a rater has said so far.

export type Language = "en" | "zh";
export type Both = { en: string; zh: string };
export type Kind = "pair" | "ranking" | "scores" | "best" | "edit";

export type Turn = { role: string; text: string; html: string };
export type Candidate = { key: string; text: string; html: string };

export type Aspect = {
  name: string;
  label: Both;
  scale: [number, number];
  step: number;
  anchors: Record<string, Both>;
};

export type Options = { tie: boolean; both_bad: boolean; strength: number; comment: boolean; flags: string[] };

export type Task = {
  id: string;
  kind: Kind;
  prompt: Turn[];
  candidates: Candidate[]; // in the order this rater sees
  shown: number[]; // the places, as the server wants them back
  aspects: Aspect[];
  options: Options;
  rubric: number;
  lease_seconds: number;
  repeated: boolean;
};

export type Waiting = { needed: number; deadline_seconds: number };

export type Me = {
  rater: string;
  language: Language;
  project: { name: string; kind_names: string[] };
  today: { done: number; goal: number };
  waiting: Waiting | null;
};

export type Guidelines = { version: number; html: Both };

export type Judgement = {
  id: string;
  task: string;
  shown: number[];
  ranks?: number[]; // in the order of `shown`, 1 = best, equal = tie
  scores?: Record<string, number>;
  edit?: string;
  both_bad?: boolean;
  strength?: number;
  comment?: string;
  flags?: string[];
  confirmed: boolean; // nothing was moved, and the rater said that this is the answer
  seconds: number;
  rubric: number; // under which the task was shown
};

export type Boot = {
  language: Language;
  theme: "" | "light" | "dark";
  words: Record<Language, Record<string, string>>;
};
