import type { z } from 'zod';
import type { Part } from '../reply/parts.ts';
import type { PlanItem } from '../workflow/plan.ts';
import type { Tier } from '../workflow/tier.ts';
import type { CommandContext } from './context.ts';

declare module 'zod' {
  interface GlobalMeta {
    /** Place among the arguments without a dash, from 0. */
    positional?: number;
    /** One letter: `-u`. */
    alias?: string;
    /** What help calls the value: `USER`. */
    value?: string;
    /** The configuration names a file that holds the value. */
    secretFile?: boolean;
    example?: unknown;
  }
}

export type Lock = 'none' | 'backup' | 'restore' | 'rebuild';

interface Declaration<Args extends z.ZodObject, Result extends z.ZodObject> {
  /** Group and verb, `user create`; one word for those that stand alone. */
  name: string;
  /** One sentence for help and docs. */
  summary: string;
  /** More for `help COMMAND`, a paragraph each. */
  details?: readonly string[];
  /** The floor; a plan may raise it. */
  tier: Tier;
  lock: Lock;
  /** Runs also on a full disk and while Steward is frozen: what ends that. */
  always?: true;
  /** Any person with a role may ask for it, whatever groups and tiers the role has. */
  anyOperator?: true;
  /** Only an owner, or the shell, may ask for it; and it runs in a lock-down. */
  owner?: true;
  /** Names the command had in the scripts that Steward replaces. */
  formerly?: readonly string[];
  /** Shorter names that stand alone: `approve`. */
  short?: readonly string[];
  args: Args;
  /** Values that never enter a room or an argv; in the shell `--NAME-file FILE`, `--NAME-stdin` or a prompt gives them. */
  secrets?: Readonly<Record<string, { alias: string; description: string; lines?: true }>>;
  /** The fields of `--json`, `--csv` and the docs. */
  result: Result;
  /** Command lines without a prefix; each is executed by a test. */
  examples: readonly string[];
}

/** Answers from what is there. */
export interface ReadSpec<Args extends z.ZodObject, Result extends z.ZodObject> extends Declaration<Args, Result> {
  tier: 'read';
  read(ctx: CommandContext, args: z.output<Args>): Promise<z.input<Result>>;
  /** How it ends for the shell and for tests; done where left out. */
  outcome?(result: z.input<Result>): 'done' | 'failed';
  reply(result: z.input<Result>, args: z.output<Args>, ctx: CommandContext): Part[];
}

export interface Page<Row> {
  rows: readonly Row[];
  /** How many there are in all, where the server says. */
  total?: number | undefined;
  /** What `--from` takes to go on, or null on the last page. */
  next?: string | null | undefined;
}

/** Answers with rows, a page at a time; `result` is one row. */
export interface ListSpec<Args extends z.ZodObject, Row extends z.ZodObject> extends Declaration<Args, Row> {
  tier: 'read';
  /** `all`: every page from the first, in pages as large as the server serves well; else one page as asked for. */
  list(ctx: CommandContext, args: z.output<Args>, all: boolean): AsyncIterable<Page<z.input<Row>>>;
  reply(page: Page<z.input<Row>>, args: z.output<Args>, ctx: CommandContext): Part[];
}

/** Changes the world. */
export interface WriteSpec<Args extends z.ZodObject, Result extends z.ZodObject, Data> extends Declaration<Args, Result> {
  tier: Exclude<Tier, 'read'>;
  /** Whether a code block or file under the command gives one target a line. */
  bulk: boolean;
  /** The secret argument that a code block or file under the command gives, whole: for what is sealed already. */
  block?: string;
  /** The read that the name alone asks for, with nothing after it. */
  bare?: string;
  /** Resolves targets, checks guards, says what will change: reading only. Throws a Failure to refuse. */
  plan(ctx: CommandContext, args: z.output<Args>): Promise<PlanItem<Data>>;
  /**
   * Of work that the homeserver goes on with after its answer: begins it. `run` then waits for its end, also in the next
   * process where this one is killed.
   *
   * @returns what the homeserver calls that work
   */
  begin?(ctx: CommandContext, data: Data): Promise<string>;
  /**
   * Once it has waited for people (`ctx.aside`), a run that is cut off is begun anew by the next start, unless its effect is
   * there: what it has left half done, it takes away or does over. Not beside `begin`.
   */
  again?: true;
  /**
   * Does it. May be called for a plan whose effect is half there. What only `run` knows is returned for `readBack`.
   *
   * @param jobId the job that runs it, with what people said to it
   * @param work what `begin` returned; empty without one
   */
  run(ctx: CommandContext, data: Data, jobId: string, work: string): Promise<RunNote>;
  /**
   * Looks whether the effect is on the server. Null means that it is not there, which is a failure however the server
   * answered; also the probe after a crash, then with an empty note.
   */
  readBack(ctx: CommandContext, data: Data, note: RunNote): Promise<z.input<Result> | null>;
  reply(result: z.input<Result>, data: Data, ctx: CommandContext): Part[];
}

/** What a run hands to its read-back: values that never leave memory. `unanswered` is the failure of a request that may yet be done. */
export type RunNote = Readonly<Record<string, unknown>>;

/* eslint-disable @typescript-eslint/no-explicit-any -- a registry holds commands of every argument and result type */
export type ReadCommand = ReadSpec<any, any> & { kind: 'read' };
export type ListCommand = ListSpec<any, any> & { kind: 'list' };
export type WriteCommand = WriteSpec<any, any, any> & { kind: 'write' };
/* eslint-enable @typescript-eslint/no-explicit-any */
export type Command = ReadCommand | ListCommand | WriteCommand;

export const defineRead = <Args extends z.ZodObject, Result extends z.ZodObject>(spec: ReadSpec<Args, Result>): Command => ({
  ...spec,
  kind: 'read',
});
export const defineList = <Args extends z.ZodObject, Row extends z.ZodObject>(spec: ListSpec<Args, Row>): Command => ({
  ...spec,
  kind: 'list',
});
export const defineWrite = <Args extends z.ZodObject, Result extends z.ZodObject, Data>(spec: WriteSpec<Args, Result, Data>): Command => ({
  ...spec,
  kind: 'write',
});

/** The group of a command: its first word. */
export function groupOf(command: Pick<Command, 'name'>): string {
  return command.name.split(' ')[0] ?? command.name;
}
