import { createHash } from 'node:crypto';
import type { TextOptions } from '../reply/plain.ts';
import { renderPlain } from '../reply/plain.ts';
import type { Reply } from '../reply/reply.ts';
import { renderHtml } from './html.ts';

/** Key of every message's content that says which command it answers: `{command, outcome, job_id, error_id}`. */
export const resultKey = 'org.steward.result';

/** An event may be 64 kB with everything around it, and carries its text twice. */
export const longestBody = 8000;

export interface Place {
  roomId: string;
  /** The event that is answered, or null where it must not be pointed at. */
  replyTo: string | null;
  threadId: string | null;
}

/** The content of the message that a reply becomes. */
export function contentOf(reply: Reply, place: Place, options: TextOptions): Record<string, unknown> {
  const mentions = [...new Set(reply.mentions ?? [])];
  return {
    // Notices never ping, whatever they mention.
    msgtype: mentions.length > 0 ? 'm.text' : 'm.notice',
    body: renderPlain(reply.parts, options),
    format: 'org.matrix.custom.html',
    formatted_body: renderHtml(reply.parts, options),
    'm.mentions': mentions.length > 0 ? { user_ids: mentions } : {},
    ...relationOf(place),
    [resultKey]: resultOf(reply),
    ...reply.content,
  };
}

/** The content of the message about a file, without what the upload adds. */
export function fileContentOf(reply: Reply, place: Place, name: string, mediaType: string): Record<string, unknown> {
  return {
    msgtype: 'm.file',
    body: name,
    filename: name,
    info: { mimetype: mediaType },
    'm.mentions': {},
    ...relationOf(place),
    [resultKey]: resultOf(reply),
  };
}

export function reactionOf(eventId: string | null, key: string): Record<string, unknown> {
  return { 'm.relates_to': { rel_type: 'm.annotation', key, ...(eventId === null ? {} : { event_id: eventId }) } };
}

function resultOf(reply: Reply): Record<string, unknown> {
  return {
    command: reply.command,
    outcome: reply.outcome,
    ...(reply.jobId === undefined ? {} : { job_id: reply.jobId }),
    ...(reply.errorId === undefined ? {} : { error_id: reply.errorId }),
  };
}

function relationOf(place: Place): Record<string, unknown> {
  if (place.threadId !== null) {
    return {
      'm.relates_to': {
        rel_type: 'm.thread',
        event_id: place.threadId,
        is_falling_back: true,
        'm.in_reply_to': { event_id: place.replyTo ?? place.threadId },
      },
    };
  }
  return place.replyTo === null ? {} : { 'm.relates_to': { 'm.in_reply_to': { event_id: place.replyTo } } };
}

/** A transaction id that is the same for the same cause and purpose, after any number of restarts. */
export function txnId(cause: string, purpose: string): string {
  return `steward-${createHash('sha256').update(`${cause}\0${purpose}`).digest('base64url').slice(0, 32)}`;
}
