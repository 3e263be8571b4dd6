import type { Alerts } from '../alerts/alerts.ts';
import type { Clock } from '../clock.ts';
import type { FailureId } from '../failures/table.ts';
import { fields, text, type Inline, type Line, type Part } from '../reply/parts.ts';
import type { Reply } from '../reply/reply.ts';
import { sizeText } from '../reply/size.ts';
import { showDuration, showTime } from '../reply/time.ts';
import type { JobStore, StepRecord } from '../store/jobs.ts';
import type { RestoreRow } from '../store/restores.ts';
import type { MetricsSnapshot } from '../telemetry/metrics.ts';
import type { SettledJob } from '../workflow/job.ts';
import type { Schedule } from '../workflow/schedule/schedule.ts';
import type { Backup } from './backups.ts';
import type { Heartbeat } from './heartbeat.ts';
import { dataAt, newestProven, outlook, outlookText, type Outlook } from './outlook.ts';
import { createCommand, drills, isProvenWhole, madeBackups, measuredOf, type Measured } from './runs.ts';

/** Backups that a new one is compared with, and that times are taken from. */
const looked = 30;

/** What lets no change begin for now: that is told otherwise, and the run is made up for. */
const heldBy: ReadonlySet<string> = new Set<FailureId>([
  ...(['access.frozen', 'access.identity-changed', 'access.owner-only', 'room.locked', 'job.locked'] as const),
  ...(['store.superseded', 'audit.unwritable'] as const),
]);

export interface BackupReportsOptions {
  jobs: JobStore;
  /** What the catalogue knows, newest first. */
  rows: () => readonly Backup[];
  /** Newest first. */
  restores: () => readonly RestoreRow[];
  /** Those that run after a schedule, and when a schedule runs next, milliseconds since the epoch or null. */
  schedules: { followers(schedule: Schedule): Schedule[]; nextRun(schedule: Schedule): number | null };
  heartbeat: Pick<Heartbeat, 'due'>;
  alerts: Pick<Alerts, 'raise' | 'resolve' | 'happened'>;
  clock: Clock;
}

/** What is said of backups beside their making: how they compare, what a restore would come to, and when one failed. */
export class BackupReports {
  readonly #options: BackupReportsOptions;

  constructor(options: BackupReportsOptions) {
    this.#options = options;
  }

  /** What a restore would come to now. */
  outlook(): Outlook {
    const { clock, jobs, restores, rows } = this.#options;
    return outlook(rows(), madeBackups(jobs, looked), restores(), drills(jobs, looked), clock.now());
  }

  /** What is measured of the newest backup, in each destination; sizes in bytes, times in seconds. */
  metrics(): NonNullable<MetricsSnapshot['backup']> | null {
    const rows = this.#options.rows();
    const [last] = rows.toSorted((one, other) => dataAt(other) - dataAt(one));
    if (last === undefined) return null;
    const [made] = madeBackups(this.#options.jobs, 1);
    const proven = newestProven(rows);
    const { takes } = this.outlook();
    return {
      at: dataAt(last) / 1000,
      provenAt: proven === null ? null : dataAt(proven) / 1000,
      bytes: last.bytes ?? 0,
      ...(made === undefined ? {} : { seconds: made.seconds, proofSeconds: made.proofSeconds }),
      ...(takes === null ? {} : { restoreSeconds: takes / 1000 }),
      contentLevel: last.contentLevel ?? 0,
      objectLevels: Object.fromEntries(
        rows.filter(({ id }) => id === last.id).map(({ destination, objectLevel }) => [destination, objectLevel ?? -1]),
      ),
    };
  }

  /** The report of a scheduled run, completed; one that failed is an alert too. */
  complete(schedule: Schedule, reply: Reply): Reply {
    if (schedule.command !== createCommand) return reply;
    const { jobs } = this.#options;
    const made = reply.jobId === undefined || reply.outcome !== 'done' ? null : measuredOf(jobs, reply.jobId);
    const failure = reply.jobId === undefined ? null : failureOf(jobs.steps(reply.jobId));
    if (reply.problem !== undefined && !heldBy.has(reply.errorId ?? '')) this.#failed(reply.problem, failure);
    return {
      ...reply,
      parts: [...reply.parts, ...(made === null ? this.#lastPart() : this.#comparison(made)), ...this.#endParts(schedule)],
    };
  }

  /** In the transaction that ends a job. */
  settled(job: SettledJob): void {
    if (job.command !== createCommand) return;
    const made = job.state === 'done' ? measuredOf(this.#options.jobs, job.id) : null;
    const last = made === null ? undefined : this.#before(made);
    if (made !== null && last !== undefined && isHalved(made, last))
      this.#options.alerts.happened({ id: 'backup.shrunk', detail: `${halvedText(made, last)}: ${made.id} after ${last.id}` });
    // One that could not be proven as far is made all the same: how old the newest proven one is, is told by itself.
    if (made !== null) this.#options.alerts.resolve('backup.failed');
    if (made !== null && isProvenWhole(made)) this.#options.heartbeat.due(made.id);
    const failure = failureOf(job.steps);
    // From a shell it may be a job of cron, which nobody reads; of a schedule the report tells it.
    if (failure !== null && job.state === 'failed' && job.origin.kind === 'shell') this.#failed(failure.reason, failure);
  }

  #failed(why: string, failure: StepRecord['failure']): void {
    const { alerts, clock, rows } = this.#options;
    const newest = newestProven(rows());
    const last =
      newest === null
        ? 'no backup is proven'
        : `the newest proven one, ${newest.id} in ${newest.destination}, is ${ageOf(newest, clock.now())} old`;
    // Of one that is made, in one place of two, another would not tell more.
    const next = failure?.id === ('backup.not-everywhere' satisfies FailureId) ? { next: failure.hint } : {};
    alerts.raise({ id: 'backup.failed', detail: `${why}; ${last}`, ...next });
  }

  #lastPart(): Part[] {
    const newest = newestProven(this.#options.rows());
    if (newest === null) return [];
    const age = ageOf(newest, this.#options.clock.now());
    return [text('The newest proven backup is ', { code: newest.id }, ` in ${newest.destination}, ${age} old.`)];
  }

  /** The backup that was made before it. */
  #before(made: Measured): Measured | undefined {
    return madeBackups(this.#options.jobs, looked).find(({ id }) => id < made.id);
  }

  /** How it compares with the one before it. */
  #comparison(made: Measured): Part[] {
    const last = this.#before(made);
    if (last === undefined) return [];
    const line: Line = [
      `database ${isOfOneKind(made, last) ? changeOf(made.databaseBytes, last.databaseBytes) : sizeText(made.databaseBytes)}, media ${changeOf(made.mediaBytes, last.mediaBytes)}, `,
      `took ${secondsText(made.seconds)} after ${secondsText(last.seconds)} (`,
      { code: last.id },
      ')',
    ];
    return [...(isHalved(made, last) ? [halvedPart(made, last)] : []), fields(['against the last', line])];
  }

  #endParts(schedule: Schedule): Part[] {
    const { schedules } = this.#options;
    const found = this.outlook();
    const next = schedules.nextRun(schedule);
    const prune = schedules.followers(schedule).find(({ pausedAt }) => pausedAt === null);
    const after: Inline[] = prune === undefined ? [] : [', then ', { command: prune.line }];
    return [
      text({ strong: outlookText(found) }, ...(found.by === '' ? [] : [` Measured: ${found.by}.`])),
      text('Next run: ', next === null ? 'paused' : showTime(next, schedule.timeZone), ...after, '.'),
    ];
  }
}

const failureOf = (steps: readonly StepRecord[]): StepRecord['failure'] => steps.find(({ failure }) => failure !== null)?.failure ?? null;

/** A backup half as large as the last one is more often a mistake than a clean-up. */
function isHalved(made: Measured, last: Measured): boolean {
  return isDatabaseHalved(made, last) || (last.mediaBytes > 0 && made.mediaBytes * 2 <= last.mediaBytes);
}

function isDatabaseHalved(made: Measured, last: Measured): boolean {
  return isOfOneKind(made, last) && made.databaseBytes * 2 <= last.databaseBytes;
}

/** A dump and the name of what an engine keeps have no sizes to compare. One that does not say its kind may be any dump. */
function isOfOneKind({ database: now }: Measured, { database: before }: Measured): boolean {
  return now === before || (before === undefined && now !== 'engine');
}

/** `database of 80 kB after 240 kB`. */
function halvedText(made: Measured, last: Measured): string {
  const [what, now, before] = isDatabaseHalved(made, last)
    ? ['database', made.databaseBytes, last.databaseBytes]
    : ['media', made.mediaBytes, last.mediaBytes];
  return `${what} of ${sizeText(now)} after ${sizeText(before)}`;
}

function halvedPart(made: Measured, last: Measured): Part {
  return text('⚠️ ', { strong: `half the size of the last or less: ` }, `${halvedText(made, last)}. Was that deleted on purpose?`);
}

/** `1.2 GB (+3 %)`. */
function changeOf(now: number, before: number): string {
  if (before === 0) return now === 0 ? 'none' : `${sizeText(now)} (new)`;
  const percent = Math.round((now / before - 1) * 100);
  return `${sizeText(now)} (${percent > 0 ? '+' : ''}${percent} %)`;
}

function ageOf(row: Backup, now: number): string {
  return showDuration(Math.max(0, now - dataAt(row)));
}

/** Short times to the tenth, so that two of them can be compared. */
function secondsText(seconds: number): string {
  return seconds < 120 ? `${seconds} s` : showDuration(seconds * 1000);
}
