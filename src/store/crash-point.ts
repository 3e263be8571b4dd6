/** Called at each commit of a store: before it is made, and after. */
export type CommitHook = (moment: 'before' | 'after') => void;

/**
 * What a test of crashes sets as `STEWARD_CRASH_AT`: `before:7` ends the process at its seventh commit as `kill -9` does,
 * before anything of it is kept; `after:7` when all of it is.
 *
 * @returns null where nothing is set
 */
export function crashPoint(setting: string | undefined): CommitHook | null {
  const [, wanted, count] = /^(before|after):(\d+)$/.exec(setting ?? '') ?? [];
  if (count === undefined) return null;
  let left = Number(count);
  return (moment) => {
    if (moment !== wanted) return;
    left -= 1;
    if (left === 0) process.kill(process.pid, 'SIGKILL');
  };
}
