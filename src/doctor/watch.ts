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

/** Warnings that people are told of before the line fails. */
const warnings: Partial<Record<LineName, AlertId>> = { backups: 'backup.late' };

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
  for (const { name, state, detail, fix } of lines) {
    const id = `doctor.${name}` as const;
    if (state === 'ok' || state === 'warn') alerts.resolve(id);
    const warning = warnings[name];
    if (warning !== undefined && state === 'warn') alerts.raise({ id: warning, detail, ...(fix === null ? {} : { next: fix }) });
    if (warning !== undefined && state === 'ok') alerts.resolve(warning);
    if (state === 'fail' && !(roomIsTold && saidOtherwise.has(name))) alerts.raise({ id, detail, ...(fix === null ? {} : { next: fix }) });
  }
}
