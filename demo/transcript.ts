import { writeFile } from 'node:fs/promises';
import type { RoomEvent } from '../kit/client.ts';
import { reactionOf, resultOf } from './content.ts';
import type { RoomLog } from './room.ts';

/** An event of the room, as the transcript keeps it. What does not apply is null. */
export interface TranscriptEntry {
  event_id: string;
  /** Milliseconds since the epoch, by the homeserver's clock. */
  at: number;
  sender: string;
  type: string;
  msgtype: string | null;
  /** As it was before a redaction, where somebody saw it then. */
  body: string | null;
  formatted_body: string | null;
  relates_to: unknown;
  /** The emoji. */
  reaction: string | null;
  redacted: boolean;
  encrypted: boolean;
  /** What Steward says about its answer: `command, outcome, job_id, error_id`. */
  result: unknown;
}

/** Writes every event of the room until now, in the homeserver's order, as a JSON array. */
export async function writeTranscript(room: RoomLog, path: string): Promise<void> {
  // A homeserver that is gone at the end takes nothing back.
  const events = await room.complete().catch(() => room.events);
  await writeFile(
    path,
    `${JSON.stringify(
      events.map((event) => entryOf(event, room.isRedacted(event))),
      null,
      2,
    )}\n`,
  );
}

export function entryOf(event: RoomEvent, redacted: boolean): TranscriptEntry {
  const text = (name: string): string | null => (typeof event.content[name] === 'string' ? event.content[name] : null);
  return {
    event_id: event.event_id,
    at: event.origin_server_ts,
    sender: event.sender,
    type: event.type,
    msgtype: text('msgtype'),
    body: text('body'),
    formatted_body: text('formatted_body'),
    relates_to: event.content['m.relates_to'] ?? null,
    reaction: reactionOf(event),
    redacted,
    encrypted: event.encrypted === true || event.type === 'm.room.encrypted',
    result: resultOf(event),
  };
}
