import type { Audit } from '../audit/audit.ts';
import type { Clock, Ids } from '../clock.ts';
import type { Dispatcher } from '../commands/dispatch.ts';
import { Secret } from '../config/secret.ts';
import { Failure } from '../failures/failure.ts';
import { failureReply, type Reply } from '../reply/reply.ts';
import type { Store } from '../store/store.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { Approvals } from '../workflow/approvals.ts';
import type { Job, SettledJob } from '../workflow/job.ts';
import type { Jobs } from '../workflow/jobs.ts';
import type { Part } from '../reply/parts.ts';
import { replyMessages, type ShellMessage, type ShellRequest } from './messages.ts';

export type { ShellMessage, ShellRequest } from './messages.ts';

/** One road for commands from the shell: in this process, or over the daemon's socket. */
export interface ShellSession {
  run(request: ShellRequest): AsyncIterable<ShellMessage>;
  /** Answers the prompt of a job. @returns false when the job waits no more */
  decide(jobId: string, yes: boolean): Promise<boolean>;
  close(): Promise<void>;
}

/** Waits for the jobs of the shell to end; `settled` is called inside the job's last transaction. */
export class ShellWaiters {
  readonly #waiting = new Map<string, (job: SettledJob | null) => void>();
  readonly #hearing = new Map<string, (parts: readonly Part[]) => void>();

  /** The job when it has ended, or null when its run was left before that. */
  wait(jobId: string): Promise<SettledJob | null> {
    return new Promise((resolve) => this.#waiting.set(jobId, resolve));
  }

  /** What the person who waits for the job is told next. */
  hear(jobId: string): Promise<readonly Part[]> {
    return new Promise((resolve) => this.#hearing.set(jobId, resolve));
  }

  /** Tells the person who waits for a job, where somebody does. */
  tell(jobId: string, parts: readonly Part[]): void {
    this.#hearing.get(jobId)?.(parts);
    this.#hearing.delete(jobId);
  }

  settled(job: SettledJob): void {
    this.#resolve(job.id, job);
  }

  left(jobId: string): void {
    this.#resolve(jobId, null);
  }

  #resolve(jobId: string, job: SettledJob | null): void {
    this.#waiting.get(jobId)?.(job);
    this.#waiting.delete(jobId);
    this.#hearing.delete(jobId);
  }
}

export interface LocalSessionOptions {
  store: Store;
  dispatcher: Dispatcher;
  jobs: Jobs;
  approvals: Approvals;
  waiters: ShellWaiters;
  ids: Ids;
  clock: Clock;
  audit: Audit;
  metrics: () => Metrics;
  /** The question of a job that waits. */
  promptOf: (job: Job) => Reply;
  /** Turns a job that has ended into its reply. */
  jobReply: (job: SettledJob) => Reply;
}

/** Commands of the shell in the process that owns the store. */
export class LocalSession implements ShellSession {
  readonly #options: LocalSessionOptions;

  constructor(options: LocalSessionOptions) {
    this.#options = options;
  }

  async *run(request: ShellRequest): AsyncGenerator<ShellMessage> {
    const { audit, clock, dispatcher, jobs, metrics, store, waiters, ids, jobReply } = this.#options;
    const started = clock.monotonic();
    const secrets = new Map(Object.entries(request.secrets).map(([name, value]) => [name, new Secret(value)]));
    const prepared = await dispatcher.prepare({
      id: `shell-${ids.uuid()}`,
      requester: { kind: 'shell' },
      origin: { kind: 'shell' },
      input: { words: request.words },
      items: request.items,
      secrets,
      message: null,
      breakGlass: request.breakGlass,
    });
    if (prepared.kind === 'answer') {
      const { reply, refusal } = prepared;
      if (refusal !== null) audit.record(refusal);
      if (reply.command !== null) metrics().command(reply.command, reply.outcome, (clock.monotonic() - started) / 1000);
      yield* replyMessages(reply, undefined);
      return;
    }
    const { need } = prepared.request;
    const job = store.transaction(() => jobs.create({ ...prepared.request, secrets }));
    const ended = waiters.wait(job.id);
    let told = waiters.hear(job.id);
    if (need === null) this.#start(job.id);
    else yield* this.#ask(job);
    let settled: SettledJob | null;
    for (;;) {
      const next = await Promise.race([ended, told]);
      if (!isParts(next)) {
        settled = next;
        break;
      }
      told = waiters.hear(job.id);
      yield { type: 'told', parts: next };
    }
    if (settled === null) {
      yield* replyMessages(
        failureReply(new Failure('job.unknown', { attempted: `run \`${job.command}\`` }), job.command, { jobId: job.id }),
        undefined,
      );
      return;
    }
    const results = settled.steps.map((step) => step.result);
    const reply = jobReply(settled);
    metrics().command(settled.command, reply.outcome, ((settled.finishedAt ?? settled.createdAt) - settled.createdAt) / 1000);
    yield* replyMessages(reply, results.length === 1 ? results[0] : results);
  }

  /** The prompt; the job is left alone from the moment when the next message is asked for, and vetoed when none ever is. */
  *#ask(job: Job): Generator<ShellMessage, void> {
    const { approvals, promptOf } = this.#options;
    const approval = approvals.get(job.id);
    let heard = false;
    try {
      if (approval?.place === 'room') yield { type: 'waiting', jobId: job.id, parts: promptOf(job).parts };
      else yield { type: 'prompt', jobId: job.id, parts: promptOf(job).parts, typeTarget: approval?.typed ?? null };
      heard = true;
    } finally {
      if (!heard) this.#options.jobs.veto(job.id);
    }
  }

  #start(jobId: string): void {
    const { jobs, waiters } = this.#options;
    // A run that stops with Steward, or cannot be journaled, ends without settling the job.
    void jobs.start(jobId).then(() => {
      waiters.left(jobId);
    });
  }

  decide(jobId: string, yes: boolean): Promise<boolean> {
    const { approvals, jobs } = this.#options;
    const job = jobs.get(jobId);
    if (job?.origin.kind !== 'shell') return Promise.resolve(false);
    if (!yes) return Promise.resolve(jobs.veto(jobId));
    // What the room was asked is not answered here.
    if (approvals.get(jobId)?.place !== 'terminal' || !jobs.approve(jobId)) return Promise.resolve(false);
    approvals.announce(jobId);
    return Promise.resolve(true);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

function isParts(next: SettledJob | null | readonly Part[]): next is readonly Part[] {
  return Array.isArray(next);
}
