import { isBetween } from '../backup/restores.ts';
import { showDuration } from '../reply/time.ts';
import type { RestoreRow } from '../store/restores.ts';
import { fail, ok, warn, type Finding } from './line.ts';

const day = 24 * 3_600_000;
/** A restore that is prepared is meant for now: what it holds grows older, and takes the space of a database. */
const preparedFor = 3 * day;
/** By then it shows whether the restored server is the right one. */
const keptFor = 7 * day;

/**
 * Whether a restore stands where it should not: half-way, or forgotten between its gates.
 *
 * @param isBusy whether one is at work now
 * @param now milliseconds since the epoch
 */
export function lookAtRestores(rows: readonly RestoreRow[], isBusy: boolean, now: number): Finding {
  const open = rows.find(({ state }) => state !== 'finished' && state !== 'failed');
  if (open === undefined) return ok('none is open');
  const { id, state } = open;
  const age = Math.max(0, now - open.changedAt);
  const waits = `the restore ${id} of ${open.backup} has been ${state} for ${showDuration(age)}`;
  if (isBetween(state)) {
    if (isBusy) return ok(`the restore ${id} is at work`);
    const undo = state === 'preparing' || state === 'finishing' ? 'finish' : 'undo';
    return fail(`the restore ${id} stands half-way (${state}${open.step === null ? '' : `, ${open.step}`})`, `\`restore ${undo} ${id}\``);
  }
  if (state === 'live')
    return age < keptFor
      ? ok(waits)
      : { ...warn(`${waits}, and what was live before is kept`, `\`!restore finish ${id}\` removes it.`), alert: 'restore.waiting' };
  return age < preparedFor
    ? ok(waits)
    : { ...warn(waits, `\`!restore cutover ${id}\` puts it in place; \`!restore finish ${id}\` removes it.`), alert: 'restore.waiting' };
}
