import type { Secret } from '../config/secret.ts';
import { asFailure, Failure } from '../failures/failure.ts';
import type { Job, JobRequester } from '../workflow/job.ts';
import { peopleAsked, type Executor, type RunHooks } from '../workflow/jobs.ts';
import type { Plan } from '../workflow/plan.ts';
import type { CommandContext } from './context.ts';
import { planOf, type ContextMaker } from './dispatch.ts';
import { passGates, type Gate } from './gate.ts';
import type { RunNote, WriteCommand } from './define.ts';

/** Milliseconds that an effect whose answer was lost is given to arrive before it is looked for. */
const settle = 1000;

/** Runs the items of a job: the effect, then the read-back without which nothing is called done. */
export class CommandExecutor implements Executor {
  readonly #context: ContextMaker;
  readonly #gates: readonly Gate[];

  constructor(context: ContextMaker, gates: readonly Gate[]) {
    this.#context = context;
    this.#gates = gates;
  }

  async plan(job: Job): Promise<Plan> {
    const ctx = this.#contextOf(job.requester, new Map());
    const command = commandOf(ctx, job);
    const { plan, refused } = await planOf(ctx, command, job.inputs);
    if (plan === null) throw refused[0]?.failure ?? new Failure('access.plan-changed');
    passGates(this.#gates, { command, tier: plan.tier, requester: job.requester });
    return plan;
  }

  async run(job: Job, n: number, secrets: ReadonlyMap<string, Secret>, hooks: RunHooks): Promise<unknown> {
    const { work, begun, progress, leaving } = hooks;
    const ctx = this.#contextOf(job.requester, secrets);
    ctx.progress = progress;
    ctx.leaving = leaving;
    const command = commandOf(ctx, job);
    const data = job.plan.items[n]?.data;
    if (command.again === true) {
      ctx.aside = (wait) => {
        begun(peopleAsked);
        return hooks.aside(wait);
      };
      const there: unknown = work === peopleAsked ? await command.readBack(ctx, data, {}) : null;
      if (there !== null) return there;
    }
    const doIt = async (): Promise<RunNote> => {
      const now = work ?? (await command.begin?.(ctx, data)) ?? '';
      if (work === null && now !== '') begun(now);
      return command.run(ctx, data, job.id, now);
    };
    const note = await doIt().catch(unanswered);
    const lost = note['unanswered'] instanceof Failure ? note['unanswered'] : null;
    if (lost !== null) await ctx.clock.sleep(settle);
    const attempted = `run \`${job.command}\` on ${targetOf(job, n)}`;
    const result: unknown = await command.readBack(ctx, data, note).catch((error: unknown) => {
      throw lost ?? unseen(error, attempted);
    });
    if (result === null) throw lost ?? new Failure('homeserver.not-done', { attempted });
    return result;
  }

  async probe(job: Job, n: number): Promise<unknown> {
    const ctx = this.#contextOf(job.requester, new Map());
    // The request that the crash cut off may still be at work.
    await ctx.clock.sleep(settle);
    return commandOf(ctx, job).readBack(ctx, job.plan.items[n]?.data, {}) as Promise<unknown>;
  }

  #contextOf(requester: JobRequester, secrets: ReadonlyMap<string, Secret>): CommandContext {
    return this.#context(requester, secrets);
  }
}

/** What a run is known by when its answer was lost. */
function unanswered(error: unknown): RunNote {
  if (error instanceof Failure && error.id === 'homeserver.outcome-unknown') return { unanswered: error };
  throw error;
}

/** A homeserver that took the change and cannot be asked about it leaves it unknown. */
function unseen(error: unknown, attempted: string): Failure {
  const failure = asFailure(error);
  if (!failure.id.startsWith('homeserver.') || failure.id === 'homeserver.not-done') return failure;
  return new Failure('homeserver.outcome-unknown', {
    attempted,
    reason: `the homeserver took it, and cannot be asked whether it is there: ${failure.reason}`,
    cause: error,
  });
}

function commandOf(ctx: CommandContext, job: Job): WriteCommand {
  const command = ctx.registry.find(job.command);
  if (command?.kind !== 'write') throw new TypeError(`no command ${job.command} runs jobs`);
  return command;
}

function targetOf(job: Job, n: number): string {
  return job.plan.items[n]?.targets.map((target) => target.id).join(', ') ?? '';
}
