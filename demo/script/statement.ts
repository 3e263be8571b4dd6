/** What a line of a script says. `line` counts from 1; `text` is the line as it was written. */
export type Statement = { line: number; text: string } & Action;

export type Action =
  | Speech
  | Reaction
  | Expectation
  | { kind: 'never'; pattern: Pattern }
  | { kind: 'wait'; ms: number }
  | { kind: 'stop' | 'kill' | 'start' }
  | Program;

/** Somebody says something in the room: by itself, about the own last message (edit), or about the bot's last one (reply). */
export type Speech =
  { kind: 'say' | 'edit' | 'reply'; who: string; message: string } | { kind: 'file'; who: string; message: string; path: string };

/** To the bot's last prompt, alert or report. */
export interface Reaction {
  kind: 'react' | 'unreact';
  who: string;
  key: string;
}

/** An answer that must come. */
export interface Expectation {
  kind: 'expect';
  pattern: Pattern;
  withinMs: number;
}

/** A command of Steward's shell, whose output is an answer too, or any other command. */
export interface Program {
  kind: 'shell' | 'run';
  command: string;
  input: string;
  exit: number;
}

/** As written: earlier answers' groups are put in when the line is reached. */
export interface Pattern {
  source: string;
  flags: string;
}
