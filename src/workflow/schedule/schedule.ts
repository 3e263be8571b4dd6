import type { ScheduleRecord } from '../../store/schedules.ts';
import type { JobRequester } from '../job.ts';
import type { Tier } from '../tier.ts';
import { Timetable } from './timetable.ts';

export interface Schedule extends Omit<ScheduleRecord, 'requester' | 'tier'> {
  tier: Tier;
  requester: JobRequester;
}

/** The columns are written by workflow/ alone, from these very types. */
export function asSchedule(record: ScheduleRecord): Schedule {
  return record as Schedule;
}

/** What a run is known by: one job each. */
export function runId(schedule: Pick<Schedule, 'id'>, dueAt: number): string {
  return `schedule-${schedule.id}-${dueAt}`;
}

/** How long after its time a run begins: the same for the same run, spread evenly over runs. Milliseconds below `jitter`. */
export function jitterOf(schedule: Pick<Schedule, 'id' | 'jitter'>, dueAt: number): number {
  if (schedule.jitter === 0) return 0;
  // FNV-1a, with a last mix so that neighbouring times lie apart.
  let hash = 0x811c9dc5;
  for (const character of runId(schedule, dueAt)) hash = Math.imul(hash ^ character.charCodeAt(0), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x45d9f3b);
  return ((hash ^ (hash >>> 16)) >>> 0) % schedule.jitter;
}

/** The time that a run out of turn is known by, which no timetable names. */
export function outOfTurn(now: number): number {
  const at = Math.trunc(now);
  return at % 1000 === 0 ? at + 1 : at;
}

const timetables = new Map<string, Timetable>();

/** The timetable of a schedule; made once for each expression and zone. */
export function timetableOf({ expression, timeZone }: Pick<Schedule, 'expression' | 'timeZone'>): Timetable {
  const key = `${timeZone} ${expression}`;
  let timetable = timetables.get(key);
  if (timetable === undefined) {
    timetable = new Timetable(expression, timeZone);
    timetables.set(key, timetable);
  }
  return timetable;
}
