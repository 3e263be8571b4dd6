import type { Audit } from '../audit/audit.ts';
import type { Clock, Ids } from '../clock.ts';
import type { Dispatcher } from '../commands/dispatch.ts';
import { Secret } from '../config/secret.ts';
import { Failure } from '../failures/failure.ts';
import { failureReply, type Reply } from '../reply/reply.ts';
import type { Store } from '../store/store.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { SettledJob } from '../workflow/job.ts';
import type { Jobs } from '../workflow/jobs.ts';
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

  /** The job when it has ended, or null when its run was left before that. */
  wait(jobId: string): Promise<SettledJob | null> {
    return new Promise((resolve) => this.#waiting.set(jobId, resolve));
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
  }
}

export interface LocalSessionOptions {
  store: Store;
  dispatcher: Dispatcher;
  jobs: Jobs;
  waiters: ShellWaiters;
  ids: Ids;
  clock: Clock;
  audit: Audit;
  metrics: () => Metrics;
  /** Turns a job that has ended into its reply. */
  jobReply: (job: SettledJob) => Reply;
}

/** Commands of the shell in the process that owns the store. */
export class LocalSession implements ShellSession {
  readonly #options: LocalSessionOptions;
  /** Of jobs that wait for an answer; they are never stored. */
  readonly #secrets = new Map<string, ReadonlyMap<string, Secret>>();

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
    });
    if (prepared.kind === 'answer') {
      const { reply, refusal } = prepared;
      if (refusal !== null) audit.record(refusal);
      if (reply.command !== null) metrics().command(reply.command, reply.outcome, (clock.monotonic() - started) / 1000);
      yield* replyMessages(reply, undefined);
      return;
    }
    const { request: jobRequest, leave, prompt } = prepared;
    const job = store.transaction(() => jobs.create(jobRequest));
    const ended = waiters.wait(job.id);
    if (leave.kind === 'none') this.#start(job.id, secrets);
    else
      yield* this.#ask(
        job.id,
        { type: 'prompt', jobId: job.id, parts: prompt?.parts ?? [], typeTarget: leave.kind === 'type-target' ? leave.target : null },
        secrets,
      );
    const settled = await ended;
    this.#secrets.delete(job.id);
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
  *#ask(jobId: string, prompt: ShellMessage, secrets: ReadonlyMap<string, Secret>): Generator<ShellMessage, void> {
    this.#secrets.set(jobId, secrets);
    let heard = false;
    try {
      yield prompt;
      heard = true;
    } finally {
      if (!heard) {
        this.#secrets.delete(jobId);
        this.#options.jobs.veto(jobId);
      }
    }
  }

  #start(jobId: string, secrets: ReadonlyMap<string, Secret> | undefined): void {
    const { jobs, waiters } = this.#options;
    // A run that stops with Steward, or cannot be journaled, ends without settling the job.
    void jobs.start(jobId, secrets).then(() => {
      waiters.left(jobId);
    });
  }

  decide(jobId: string, yes: boolean): Promise<boolean> {
    const { jobs } = this.#options;
    const job = jobs.get(jobId);
    if (job?.origin.kind !== 'shell') return Promise.resolve(false);
    if (!yes) return Promise.resolve(jobs.veto(jobId));
    if (!jobs.confirm(jobId)) return Promise.resolve(false);
    this.#start(jobId, this.#secrets.get(jobId));
    return Promise.resolve(true);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
