import { z } from 'zod';
import type { Loss, Restores } from '../../backup/restores.ts';
import { Failure } from '../../failures/failure.ts';
import { text, type Line, type Part } from '../../reply/parts.ts';
import { hintLine } from '../../reply/reply.ts';
import { restoreParts, type RestorePart, type RestoreRow } from '../../store/restores.ts';
import type { CommandContext } from '../context.ts';
import type { RunNote } from '../define.ts';

export const restoreArgument = z
  .string()
  .regex(/^(latest|\d{8}_\d{6})$/, 'latest, or an id such as 20261122_021500')
  .default('latest')
  .describe('Which restore; the newest when left out.')
  .meta({ positional: 0, value: 'RESTORE' });

const word = restoreParts.join('|');

export const onlyArgument = z
  .string()
  .regex(new RegExp(`^(${word})(,(${word}))*$`), `some of ${restoreParts.join(', ')}, parted by commas`)
  .optional()
  .describe(`Parts to restore, parted by commas: ${restoreParts.join(', ')}. All when left out.`)
  .meta({ value: 'PARTS' });

export function partsIn(only: string | undefined): RestorePart[] {
  const chosen = only?.split(',');
  return restoreParts.filter((part) => chosen === undefined || chosen.includes(part));
}

/** What a swap needs. @throws Failure `restore.no-control`, `stack.not-granted` */
export async function assertMaySwap({ stack }: CommandContext, parts: readonly RestorePart[]): Promise<void> {
  if ((await stack.components()).length === 0) throw new Failure('restore.no-control');
  const restore = (await stack.capabilities()).find(({ name }) => name === 'restore');
  if (restore?.granted === false && parts.includes('database'))
    throw new Failure('stack.not-granted', {
      attempted: 'restore the database',
      reason: restore.missing.join('; '),
      ...(restore.grant.length === 0 ? {} : { hint: restore.grant.join('\n') }),
    });
}

/**
 * What is lost by going from what is live to what is not, in words.
 *
 * @param back the command that brings it back
 */
export function lossLine(loss: Loss | null, since: number, back: string): Line {
  const what =
    loss === null
      ? 'what was written'
      : `${count(loss.events, 'event')}, ${count(loss.users, 'new user')} and ${count(loss.media, 'new media file')}`;
  const [are, them] = loss === null ? ['is', 'it'] : ['are', 'them'];
  return [
    `${what} since `,
    { time: since },
    ` ${are} lost to everybody; `,
    { command: back },
    ` brings ${them} back, until `,
    { command: 'restore finish' },
  ];
}

/** Waits for what a stop has cut off, where this is asked after a crash. */
export async function settled(restores: Restores, id: string): Promise<RestoreRow> {
  await restores.recover();
  return restores.find(id);
}

export function count(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? '' : 's'}`;
}

/** What people meet after the database is of an earlier time. @param delegated whether Matrix Authentication Service has the accounts */
export function followUps(delegated: boolean): readonly Line[] {
  const clear = 'Clients that show nothing new want “clear cache and reload”.';
  return [
    ['Other servers keep what was said since; it comes back into rooms where somebody on another server speaks.'],
    delegated ? [clear] : [`Sessions and devices made since are gone: their users log in again. ${clear}`],
    ['One-time keys are empty, and clients upload new ones: until then a new encrypted session to an offline device may fail.'],
    ...(delegated ? [provisionLine] : []),
  ];
}

/** What people must do who have Matrix Authentication Service: its own data were not restored. */
export const provisionLine: Line = hintLine(
  'Accounts and sessions made since are in Matrix Authentication Service and not in the homeserver, which answers them with an error: `mas-cli manage provision-all-users`, where that service runs, makes them there again.',
);

/** What Steward had to make anew for itself; known to the run alone. */
export function attachedIn(note: RunNote): string[] {
  return (note['attached'] as string[] | undefined) ?? [];
}

export function attachedLine(attached: readonly string[]): Part[] {
  return attached.length === 0 ? [] : [text('Steward itself: ', ...hintLine(attached.join(', ').replace(/(?<![.!?])$/, '.')))];
}
