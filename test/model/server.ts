import type { MatrixClient } from '../../src/matrix/client.ts';
import { MatrixRequestError } from '../../src/matrix/client.ts';
import type { RoomEvent } from '../../src/matrix/sync-types.ts';

export interface SentEvent extends RoomEvent {
  redactedBy: string | null;
  /** Its place in the order in which clients are given events; null as long as it is held back. */
  place: number | null;
  /** Clients get it as it was sent, also when it has been redacted meanwhile. */
  isStale: boolean;
}

/** What goes wrong with the next write of Steward. `lost`: it is done, and the answer does not come. */
export type WriteFault = 'lost' | 'refused' | 'limited';

/** The connection of one process of Steward; nothing is answered after `end`. */
export interface Connection {
  client: MatrixClient;
  end(): void;
}

/** One room of a homeserver, in which a history happens. */
export interface Server {
  readonly roomId: string;
  readonly botId: string;
  /** In the order in which they were sent. */
  readonly events: readonly SentEvent[];
  /** Faults for the writes to come, in turn. */
  readonly faults: WriteFault[];
  /** How many events Steward has been given. */
  readonly delivered: number;
  event(eventId: string): SentEvent | undefined;
  /** Somebody sends an event. @returns its id */
  send(sender: string, type: string, content: Record<string, unknown>): Promise<string>;
  /** The next `count` events of others come when `release` is called, as they were sent. */
  hold(count: number): void;
  /** What was held back comes now, behind all that was sent since. */
  release(): void;
  /** The next sync brings events that were brought before. */
  repeat(count: number): void;
  /** The next sync that brings something brings it so: its events turned round, or all but the last two left out. */
  disturb(how: 'reversed' | 'cut'): void;
  connect(): Connection;
  /** Lets a moment pass, of which many make up a request. */
  moment(): Promise<void>;
  /** Lets everything run that can run while time stands still; where that cannot be seen, so many moments long. */
  rest(moments: number): Promise<void>;
  /** What it holds otherwise than `events` says; empty where there is nothing. */
  differences(): Promise<string[]>;
}

/** A write of Steward, with the fault that is due. */
export async function faulty<T>(faults: WriteFault[], write: () => Promise<T>): Promise<T> {
  const fault = faults.shift();
  if (fault === 'refused') throw new MatrixRequestError('PUT', 500, 'M_UNKNOWN', null);
  if (fault === 'limited') throw new MatrixRequestError('PUT', 429, 'M_LIMIT_EXCEEDED', 700);
  const result = await write();
  if (fault === 'lost') throw new MatrixRequestError('PUT', null, null, null);
  return result;
}

/** The event as clients get it `now`, by the clock that it was sent by: redacted ones are empty, unless they are stale. */
export function seen(
  { redactedBy, isStale, event_id, type, sender, origin_server_ts, content, unsigned }: SentEvent,
  now: number,
): RoomEvent {
  const age = now - (unsigned?.age ?? 0);
  return { event_id, type, sender, origin_server_ts, content: redactedBy === null || isStale ? content : {}, unsigned: { age } };
}

export function never(): Promise<never> {
  return new Promise(() => undefined);
}
