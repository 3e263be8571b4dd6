import { text } from '../reply/parts.ts';
import type { Reply } from '../reply/reply.ts';
import type { Post } from '../store/posts.ts';
import type { ReportedRun } from '../workflow/schedule/scheduler.ts';
import type { Button } from './room.ts';

/** Reactions on the report of a scheduled run. */
const log = '📜';
const again = '🔁';

/** The message as one that takes reactions, and those that Steward puts under it. */
export function reportButtons({ schedule, jobId }: ReportedRun): { post: Post; keys: string[] } {
  return { post: { kind: 'report', ref: `${schedule} ${jobId ?? ''}` }, keys: jobId === null ? [again] : [log, again] };
}

/** 📜 shows the run, 🔁 runs it again: the same as typing the command, by whoever presses. */
export const reportButton: Button = ({ post, key, isLate }) => {
  const [schedule = '', jobId = ''] = post.ref.split(' ');
  const line = key === again ? `schedule run ${schedule}` : key === log && jobId !== '' ? `job info ${jobId}` : null;
  if (line === null) return null;
  return isLate ? late : { line };
};

const late: Reply = {
  command: null,
  outcome: 'refused',
  parts: [text('Your reaction came while I was away. React again if it is still wanted.')],
};
