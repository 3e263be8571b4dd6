import type { Alerts } from '../alerts/alerts.ts';
import type { AlertId } from '../alerts/table.ts';
import type { Clock } from '../clock.ts';
import type { Log } from '../telemetry/log.ts';
import type { Line, LineName } from './line.ts';

export interface WatchOptions {
  look: () => Promise<readonly Line[]>;
  alerts: Alerts;
  clock: Clock;
  log: Log;
  /** Milliseconds between two looks. */
  every: () => number;
}

/** The room has its own alerts, raised at once: these lines would say the same again. */
const saidOtherwise: ReadonlySet<LineName> = new Set(['token', 'room']);

/** Alerts of warnings, beside the one of the line itself. A line that fails leaves them as they are. */
const warnings: Partial<Record<LineName, readonly AlertId[]>> = { backups: ['backup.late'], restores: ['restore.waiting'] };

/** Runs the doctor again and again: a line that turns to fail is an alert, and one that is well again ends it. */
export async function watch({ look, alerts, clock, log, every }: WatchOptions, signal: AbortSignal): Promise<void> {
  const stopped = (): boolean => signal.aborted;
  for (;;) {
    await clock.sleep(every(), signal);
    if (stopped()) return;
    try {
      const lines = await look();
      // A store that is being closed takes nothing.
      if (!stopped()) report(lines, alerts);
    } catch (error) {
      log.error('the doctor could not look', { error });
    }
  }
}

/** @param lines what is skipped stays as it was */
export function report(lines: readonly Line[], alerts: Alerts): void {
  const roomIsTold = alerts.standing().some(({ id }) => id.startsWith('room.') && id !== 'room.weak');
  for (const { name, state, detail, fix, alert } of lines) {
    const id = `doctor.${name}` as const;
    const raise = (raised: AlertId): void => alerts.raise({ id: raised, detail, ...(fix === null ? {} : { next: fix }) });
    if (state === 'fail' && !(roomIsTold && saidOtherwise.has(name))) raise(id);
    if (state === 'fail' || state === 'skipped') continue;
    alerts.resolve(id);
    for (const warning of warnings[name] ?? [])
      if (warning === alert) raise(warning);
      else alerts.resolve(warning);
  }
}
