import { z } from 'zod';
import type { JobStore } from '../store/jobs.ts';

/** The command whose jobs are the history of backups. */
export const createCommand = 'backup create';

/** What a backup was when it was made: what is measured of it. */
export const measured = z.object({
  id: z.string(),
  destinations: z.array(z.object({ name: z.string(), objectLevel: z.number().nullable() })),
  /** Of what it added to a destination. */
  bytes: z.number(),
  databaseBytes: z.number(),
  /** What it has of the database: `pg_dump`, `sqlite`, or `engine`, the name of what an engine keeps; older jobs do not say. */
  database: z.string().optional(),
  /** Of all media that it is made of, also of earlier backups. */
  mediaBytes: z.number(),
  contentLevel: z.number(),
  /** Until its manifest was there. */
  seconds: z.number(),
  /** Reading it again, restoring the database into another one, comparing. */
  proofSeconds: z.number(),
  /** Whether somebody had shown to be able to open it. */
  openable: z.boolean(),
});
export type Measured = z.output<typeof measured>;

/** The command that tries a stored backup to its end. */
export const drillCommand = 'backup drill';

/** What such a try has shown, and what is measured of it. */
export const drilled = z.object({
  id: z.string(),
  /** When, ISO 8601. */
  at: z.string(),
  objectLevel: z.number(),
  isolation: z.string(),
  /** What took how long, in order; seconds. */
  phases: z.array(z.object({ name: z.string(), seconds: z.number() })),
  users: z.number(),
  rooms: z.number(),
  roomState: z.number().nullable(),
  /** Whether a file of media was read back. */
  probedMedia: z.boolean(),
  databaseBytes: z.number(),
  /** Of the files that were read. */
  mediaBytes: z.number(),
});
export type Drilled = z.output<typeof drilled>;

/** Tries of stored backups, newest first; at most `limit`. */
export function drills(jobs: JobStore, limit: number): Drilled[] {
  return jobs.ended(drillCommand, limit).flatMap(({ id }) => {
    const result = drilled.safeParse(jobs.steps(id)[0]?.result);
    return result.success ? [result.data] : [];
  });
}

/** Backups that were made, newest first, as their jobs have kept them; at most `limit`. */
export function madeBackups(jobs: JobStore, limit: number): Measured[] {
  return jobs.ended(createCommand, limit).flatMap(({ id }) => measuredOf(jobs, id) ?? []);
}

/** What the backup of a job was, or null where it made none. */
export function measuredOf(jobs: JobStore, jobId: string): Measured | null {
  const result = measured.safeParse(jobs.steps(jobId)[0]?.result);
  return result.success ? result.data : null;
}

/** Whether its content is proven at L3 and every object of it at L1, in every destination that it went to, and somebody can open it. */
export function isProvenWhole({ contentLevel, destinations, openable }: Measured): boolean {
  return openable && contentLevel >= 3 && destinations.length > 0 && destinations.every(({ objectLevel }) => (objectLevel ?? 0) >= 1);
}
