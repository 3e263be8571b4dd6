import type { Content, RoomEvent } from '../kit/client.ts';
import { resultKey } from '../src/matrix/outgoing.ts';

/** What the fields of an event's content are, where they have the form that the protocol says. */

export function record(value: unknown): Content {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Content) : {};
}

export function relation(event: RoomEvent): Content {
  return record(event.content['m.relates_to']);
}

export function isEdit(event: RoomEvent): boolean {
  return relation(event)['rel_type'] === 'm.replace';
}

/** The text of a message; of an edit, the new one. Null where there is none. */
export function bodyOf(event: RoomEvent): string | null {
  if (event.type !== 'm.room.message') return null;
  const edited = isEdit(event) ? record(event.content['m.new_content'])['body'] : undefined;
  const body = edited ?? event.content['body'];
  return typeof body === 'string' ? body : null;
}

/** The emoji of a reaction, or null. */
export function reactionOf(event: RoomEvent): string | null {
  const key = relation(event)['key'];
  return event.type === 'm.reaction' && typeof key === 'string' ? key : null;
}

/** `{command, outcome, job_id, error_id}` of an answer of Steward, or null. */
export function resultOf(event: RoomEvent): Content | null {
  const result = event.content[resultKey];
  return result === undefined ? null : record(result);
}

/** The event that this one answers, reacts to or edits, or null. */
export function aboutOf(event: RoomEvent): string | null {
  const about = relation(event)['event_id'] ?? record(relation(event)['m.in_reply_to'])['event_id'];
  return typeof about === 'string' ? about : null;
}

/** The event that this one removes, or null. */
export function redactionOf(event: RoomEvent): string | null {
  const redacts = event.redacts ?? event.content['redacts'];
  return event.type === 'm.room.redaction' && typeof redacts === 'string' ? redacts : null;
}
