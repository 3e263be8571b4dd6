import type { AuditActor, AuditEntry } from '../audit/audit.ts';
import type { ReadCounts } from '../audit/reads.ts';
import type { Config } from '../config/schema.ts';
import { Secret } from '../config/secret.ts';
import { asFailure, Failure } from '../failures/failure.ts';
import { code, text } from '../reply/parts.ts';
import { failureReply, type Reply } from '../reply/reply.ts';
import type { JobOrigin } from '../workflow/job.ts';
import type { JobRequest } from '../workflow/jobs.ts';
import type { Plan, PlanItem } from '../workflow/plan.ts';
import { isOperator, mayRequest, owners } from '../workflow/roles.ts';
import type { Leave } from '../workflow/standing.ts';
import { atLeast, highestTier, type Tier } from '../workflow/tier.ts';
import type { CommandContext, Message, Requester } from './context.ts';
import { listData, recordData } from './data.ts';
import { groupOf, type Command, type ListCommand, type ReadCommand, type WriteCommand } from './define.ts';
import { parseLine, parseWords, type Mistake, type Parsed, type ParseResult } from './grammar/parse.ts';
import { tokenise } from './grammar/tokenise.ts';
import { passGates, type Gate } from './gate.ts';
import { needFor, planTitle } from './need.ts';
import { planParts } from './prompt.ts';

/** A command as it was asked for, wherever it was typed. */
export interface Ask {
  /** The event's id, or a new one for a call from the shell: one job each. */
  id: string;
  requester: Requester;
  origin: JobOrigin;
  /** A line from a room, or words that a shell has split. */
  input: { line: string } | { words: readonly string[] };
  /** Lines of a code block or file: each is one more command, with its words after those of the input. */
  items: readonly string[] | null;
  secrets: ReadonlyMap<string, Secret>;
  /** The tier up to which leave was given beforehand, where the command runs with nobody to ask. */
  granted?: Tier;
  /** What is higher than that: whether a standing approval covers it, or which of its bounds it passes. */
  standing?: (plan: Plan) => Leave;
  /** The message that asks; null where none does. */
  message?: Message | null;
  /** The reason given with the shell's `--break-glass`. */
  breakGlass?: string | undefined;
}

/**
 * What an ask comes to: an answer, or a job to be written down.
 *
 * @property refusal what the audit is told, where somebody asked for what he may not have
 */
export type Prepared = { kind: 'answer'; reply: Reply; refusal: AuditEntry | null } | { kind: 'job'; request: JobRequest };

export type ContextMaker = (requester: Requester, secrets: ReadonlyMap<string, Secret>, message?: Message | null) => CommandContext;

/** Reads, checks and plans what was asked. Nothing is changed here. */
export class Dispatcher {
  readonly #context: ContextMaker;
  readonly #gates: readonly Gate[];
  readonly #reads: ReadCounts;

  constructor(context: ContextMaker, gates: readonly Gate[], reads: ReadCounts) {
    this.#context = context;
    this.#gates = gates;
    this.#reads = reads;
  }

  /** Never throws: what goes wrong is an answer. */
  async prepare(ask: Ask): Promise<Prepared> {
    const ctx = this.#context(ask.requester, ask.secrets, ask.message ?? null);
    let command: string | null = null;
    try {
      const block = blockOf(ctx, ask);
      if (block !== null) return await this.prepare({ ...ask, items: null, secrets: block });
      if (ask.items !== null) return await this.#bulk(ctx, ask, ask.items);
      const parsed = read(ctx, ask, null);
      if (!parsed.ok) return answer(mistakeReply(parsed.mistake));
      command = parsed.parsed.command.name;
      return await this.#single(ctx, ask, parsed.parsed);
    } catch (error) {
      const failure = asFailure(error);
      const reference = failure.id === 'internal.bug' ? ctx.ids.short(8) : undefined;
      if (reference !== undefined)
        ctx.log.error('a command failed', { error_id: reference, ...(command === null ? {} : { command }), error });
      return answer(failureReply(failure, command, { reference }), refusalOf(ask, command, failure));
    }
  }

  async #single(ctx: CommandContext, ask: Ask, parsed: Parsed): Promise<Prepared> {
    const { command, flags, args } = parsed;
    this.#assertMayRequest(ctx, parsed, command.tier);
    if (flags.help) {
      const help = ctx.registry.find('help') as ReadCommand;
      const topic = { topic: command.name.split(' ') };
      return answer({ command: 'help', outcome: 'done', parts: help.reply(await help.read(ctx, topic), topic, ctx) });
    }
    if (command.name === 'undo') return this.#undo(ctx, ask);
    if (command.kind !== 'write') this.#reads.count(actorOf(ask), command.name);
    if (command.kind === 'read') return answer(await readAnswer(ctx, command, args, flags));
    if (command.kind === 'list') return answer(await listAnswer(ctx, command, args, flags));
    return this.#write(ctx, ask, [parsed], null);
  }

  async #undo(ctx: CommandContext, ask: Ask): Promise<Prepared> {
    const job = ctx.lastUndoable();
    if (job?.undo == null) throw new Failure('undo.nothing', { attempted: 'undo your last change' });
    const parsed = parseLine(ctx.registry, job.undo);
    if (!parsed.ok) throw new TypeError(`the undo of ${job.command} does not parse`);
    this.#assertMayRequest(ctx, parsed.parsed, parsed.parsed.command.tier);
    return this.#write(ctx, ask, [parsed.parsed], job.id);
  }

  /** Each item is the command's line with the item's words after it, so that options given once hold for all. */
  async #bulk(ctx: CommandContext, ask: Ask, items: readonly string[]): Promise<Prepared> {
    const words = 'line' in ask.input ? ask.input.line.split(/\s+/u) : ask.input.words;
    const command = ctx.registry.match(words)?.command;
    if (command !== undefined && !(command.kind === 'write' && command.bulk))
      throw new Failure('usage.no-input', { attempted: `run \`${command.name}\` on a list` });
    const attempted = `run \`${command?.name ?? words[0] ?? ''}\` on ${items.length} items`;
    if (items.length === 0) throw new Failure('usage.invalid-value', { attempted, reason: 'the list is empty' });
    const results = items.map((item) => read(ctx, ask, item));
    const mistakes = results.flatMap((result, at) => (result.ok ? [] : [`line ${at + 1}: ${result.mistake.failure.message}`]));
    const parsed = results.flatMap((result) => (result.ok ? [result.parsed] : []));
    if (mistakes.length > 0)
      return answer(
        listReply(
          command?.name ?? null,
          new Failure('usage.invalid-value', { attempted, reason: `${mistakes.length} of the lines are wrong; nothing was run` }),
          mistakes,
        ),
      );
    const first = parsed[0];
    if (first !== undefined) this.#assertMayRequest(ctx, first, first.command.tier);
    return this.#write(ctx, ask, parsed, null);
  }

  async #write(ctx: CommandContext, ask: Ask, parsed: readonly Parsed[], undoes: string | null): Promise<Prepared> {
    const first = parsed[0];
    if (first?.command.kind !== 'write') throw new TypeError('only a write can be planned');
    const { command } = first;
    const inputs = parsed.map(({ args }) => args);
    const { plan, refused } = await planOf(ctx, command, inputs);
    if (plan === null) {
      const only = refused.length === 1 && parsed.length === 1 ? refused[0] : undefined;
      if (only !== undefined) throw only.failure;
      const attempted = `run \`${command.name}\` on ${parsed.length} items`;
      return answer(
        listReply(
          command.name,
          new Failure('access.plan-changed', {
            attempted,
            reason: `${refused.length} of them cannot be done; nothing was run`,
            hint: 'Mend these lines, or take them out.',
          }),
          refused.map(({ n, failure }) => `line ${n + 1}: ${failure.message}`),
        ),
        refused.reduce<AuditEntry | null>((found, { failure }) => found ?? refusalOf(ask, command.name, failure), null),
      );
    }
    this.#assertMayRequest(ctx, first, plan.tier);
    if (first.flags.dryRun)
      return answer({
        command: command.name,
        outcome: 'done',
        parts: [text({ strong: 'Dry run.' }, ' Nothing was changed.'), ...planParts(plan)],
      });

    const { need, origin } = leaveFor(ctx, ask, plan, first.flags.yes);
    const undo = plan.items.length === 1 ? (plan.items[0]?.undo ?? null) : null;
    const request: JobRequest = {
      requestId: ask.id,
      plan,
      inputs,
      requester: ask.requester,
      origin,
      need,
      breakGlass: atLeast(plan.tier, 'destructive') ? ask.breakGlass : undefined,
      ...(ask.secrets.size === 0 ? {} : { secrets: ask.secrets }),
      undo,
      undoes,
    };
    return { kind: 'job', request };
  }

  #assertMayRequest(ctx: CommandContext, { command }: Parsed, tier: Tier): void {
    assertMayRequest(ctx, command, tier);
    passGates(this.#gates, { command, tier, requester: ctx.requester });
  }
}

/** The lines under a command that takes them as one secret argument, or null. */
function blockOf(ctx: CommandContext, { input, items, secrets }: Ask): ReadonlyMap<string, Secret> | null {
  if (items === null) return null;
  const command = ctx.registry.match('line' in input ? input.line.split(/\s+/u) : input.words)?.command;
  if (command?.kind !== 'write' || command.block === undefined) return null;
  return new Map([...secrets, [command.block, new Secret(items.join('\n'))]]);
}

/** What the plan of an ask needs, where it has no leave beforehand; and what its job remembers of that. */
function leaveFor(ctx: CommandContext, ask: Ask, plan: Plan, yes: boolean): Pick<JobRequest, 'need' | 'origin'> {
  const { granted, origin, standing } = ask;
  const breakGlass = ask.breakGlass ?? null;
  if (granted === undefined) return { need: needFor(ctx, plan, { yes, breakGlass }), origin };
  if (atLeast(granted, plan.tier)) return { need: null, origin };
  const tier = `${plan.tier}${plan.reasons.length === 0 ? '' : `, because ${plan.reasons.join(' and ')}`}`;
  const attempted = planTitle(plan);
  if (standing === undefined || origin.kind !== 'schedule')
    throw new Failure('access.needs-approval', { attempted, reason: `it is ${tier}; ${granted} was given leave beforehand` });
  const leave = standing(plan);
  if ('standing' in leave) return { need: null, origin: { ...origin, standing: leave.standing } };
  const need = needFor(ctx, plan, { yes: false, breakGlass: null });
  // Nobody sits at a terminal for a schedule.
  if (need === null || need.place === 'terminal') throw new Failure('access.needs-approval', { attempted, reason: leave.beyond });
  return { need, origin: { ...origin, beyond: leave.beyond } };
}

/** Plans each item; all must be possible, or none is run. */
export async function planOf(
  ctx: CommandContext,
  command: WriteCommand,
  inputs: readonly Record<string, unknown>[],
): Promise<{ plan: Plan | null; refused: { n: number; failure: Failure }[] }> {
  const items: PlanItem[] = [];
  const refused: { n: number; failure: Failure }[] = [];
  const seen = new Map<string, number>();
  for (const [n, args] of inputs.entries()) {
    try {
      const item: PlanItem = await command.plan(ctx, args);
      for (const { id } of item.targets) {
        const earlier = seen.get(id);
        if (earlier !== undefined)
          throw new Failure('usage.repeated-option', { attempted: `act on ${id}`, reason: `it stands in line ${earlier + 1} already` });
        seen.set(id, n);
      }
      items.push(item);
    } catch (error) {
      const failure = asFailure(error);
      if (failure.id === 'internal.bug') throw error;
      refused.push({ n, failure });
    }
  }
  if (refused.length > 0) return { plan: null, refused };
  const raised = items.flatMap((item) => (item.raise === undefined ? [] : [item.raise]));
  const isMany = items.length > ctx.config.limits.bulk;
  const bulk: Tier[] = isMany ? ['catastrophic'] : items.length > 1 ? ['confirmed'] : [];
  const tier = highestTier(command.tier, ...raised.map((raise) => raise.tier), ...bulk);
  const reasons = [
    ...new Set([
      ...raised.filter((raise) => atLeast(raise.tier, tier)).map((raise) => raise.reason),
      ...(isMany ? [`it acts on more than ${ctx.config.limits.bulk} targets`] : []),
      ...(items.length > 1 && tier === 'confirmed' && command.tier !== 'confirmed' ? ['it acts on several targets'] : []),
    ]),
  ];
  return { plan: { command: command.name, tier, reasons, items }, refused };
}

/** @param item more words, after those of the input */
function read(ctx: CommandContext, ask: Ask, item: string | null): ParseResult {
  if ('line' in ask.input) return parseLine(ctx.registry, item === null ? ask.input.line : `${ask.input.line} ${item}`);
  if (item === null) return parseWords(ctx.registry, ask.input.words);
  const words = tokenise(item);
  return Array.isArray(words)
    ? parseWords(ctx.registry, [...ask.input.words, ...words.map((word) => word.value)])
    : parseLine(ctx.registry, item);
}

function assertMayRequest(ctx: CommandContext, command: Command, tier: Tier): void {
  const group = groupOf(command);
  if (command.anyOperator === true && ctx.requester.kind === 'person' && isOperator(ctx.config, ctx.requester.person)) return;
  if (mayRequest(ctx.config, ctx.requester, group, tier)) return;
  const attempted = `run \`${command.name}\``;
  const hasRole = ctx.requester.kind === 'person' && (ctx.config.people[ctx.requester.person]?.roles.length ?? 0) > 0;
  if (!hasRole) throw new Failure('access.no-role', { attempted, hint: whomToAsk(ctx.config) });
  throw new Failure('access.not-allowed', { attempted, reason: `your role does not include ${tier} commands of the group \`${group}\`` });
}

/** Whom a person without a role asks. */
export function whomToAsk(config: Config): string {
  const names = owners(config);
  return names.length === 0
    ? 'Nobody is an owner yet: see `people:` in the configuration.'
    : `Ask ${names.join(' or ')} to add you to \`people:\` in the configuration.`;
}

async function readAnswer(
  ctx: CommandContext,
  command: ReadCommand,
  args: Record<string, unknown>,
  flags: Parsed['flags'],
): Promise<Reply> {
  const result: unknown = await command.read(ctx, args);
  const parts = command.reply(result, args, ctx);
  const format = flags.json ? 'json' : flags.csv ? 'csv' : null;
  return {
    command: command.name,
    outcome: command.outcome?.(result) ?? 'done',
    parts,
    wide: flags.wide,
    ...(format === null ? {} : { data: recordData(command.name, result, format) }),
  };
}

async function listAnswer(
  ctx: CommandContext,
  command: ListCommand,
  args: Record<string, unknown>,
  flags: Parsed['flags'],
): Promise<Reply> {
  const format = flags.json ? 'json' : flags.csv ? 'csv' : null;
  if (format !== null) {
    // The first page is asked for here, so that a failure is an answer and not half a file.
    const pages = command.list(ctx, args, true)[Symbol.asyncIterator]() as AsyncIterator<{ rows: readonly Record<string, unknown>[] }>;
    const first = await pages.next();
    return {
      command: command.name,
      outcome: 'done',
      parts: [text('All rows are in the file.')],
      data: listData(command, resume(first, pages), format),
    };
  }
  for await (const page of command.list(ctx, args, false))
    return { command: command.name, outcome: 'done', parts: command.reply(page, args, ctx), wide: flags.wide };
  return { command: command.name, outcome: 'done', parts: command.reply({ rows: [] }, args, ctx), wide: flags.wide };
}

async function* resume<T>(first: IteratorResult<T>, rest: AsyncIterator<T>): AsyncGenerator<T> {
  for (let next = first; next.done !== true; next = await rest.next()) yield next.value;
}

function actorOf({ requester, origin }: Ask): AuditActor {
  if (origin.kind === 'schedule')
    return { kind: 'schedule', schedule: origin.name, person: requester.kind === 'person' ? requester.person : null };
  if (requester.kind === 'shell') return { kind: 'shell' };
  const trust = (origin.kind === 'room' ? origin.trust : undefined) ?? { kind: 'plain' };
  return { kind: 'person', person: requester.person, userId: requester.userId, trust };
}

/** Somebody asked for what he may not have: told to the audit by the command and the failure, never by what was typed. */
function refusalOf(ask: Ask, command: string | null, failure: Failure): AuditEntry | null {
  if (!/^(?:access|approval|guard)\./.test(failure.id)) return null;
  return {
    event: 'access.refused',
    actor: actorOf(ask),
    command: command ?? undefined,
    eventId: ask.origin.kind === 'room' ? ask.origin.eventId : undefined,
    failure: failure.id,
  };
}

function mistakeReply(mistake: Mistake): Reply {
  return failureReply(mistake.failure, mistake.command, { excerpt: mistake.excerpt });
}

function listReply(command: string | null, failure: Failure, lines: readonly string[]): Reply {
  const reply = failureReply(failure, command);
  return { ...reply, parts: [code(lines.join('\n')), ...reply.parts] };
}

const answer = (reply: Reply, refusal: AuditEntry | null = null): Prepared => ({ kind: 'answer', reply, refusal });
