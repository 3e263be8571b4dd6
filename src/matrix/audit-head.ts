import type { SignedHead } from '../audit/head.ts';
import { text } from '../reply/parts.ts';
import type { Reply } from '../reply/reply.ts';

/** Key of the message that posts a head of the audit: `{seq, hash, at, key, signature}`. */
const headKey = 'org.steward.audit_head';

/** The head of the audit, for the room to hold: one line for people, all of it for programs. */
export function headReply(head: SignedHead): Reply {
  return {
    command: null,
    outcome: 'done',
    parts: [text(`Audit: ${head.seq} records, head `, { code: head.hash })],
    content: { [headKey]: { ...head } },
  };
}
