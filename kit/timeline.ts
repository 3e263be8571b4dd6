import { setTimeout as sleep } from 'node:timers/promises';
import type { RoomEvent } from './client.ts';

/** What a client with an open window sees, as it comes. */
export interface Timeline {
  /** All events since the timeline was opened, oldest first per room. */
  readonly events: readonly RoomEvent[];
  /** Invites to this user since then. */
  readonly invites: readonly { roomId: string; sender: string }[];
  /** Called for each event, in order. Returns the way to end it. */
  onEvent(listener: (event: RoomEvent) => void): () => void;
  /**
   * The first event that fits, of those seen already and those to come; with `after` (an event id) only of those behind that one.
   * Errors: none within `ms` (default 10 000); the message has the last 10 events.
   */
  waitFor(fits: (event: RoomEvent) => boolean, ms?: number, after?: string): Promise<RoomEvent>;
  /** The first invite that fits. Errors: none within `ms` (default 10 000). */
  waitForInvite(fits?: (invite: { roomId: string; sender: string }) => boolean, ms?: number): Promise<{ roomId: string; sender: string }>;
  stop(): void;
}

type Call = <T>(method: string, path: string, body?: unknown, signal?: AbortSignal) => Promise<T>;

interface SyncAnswer {
  next_batch: string;
  rooms?: {
    join?: Record<string, { timeline: { events: RoomEvent[]; limited?: boolean; prev_batch?: string } }>;
    leave?: Record<string, { timeline: { events: RoomEvent[] } }>;
    invite?: Record<string, { invite_state: { events: RoomEvent[] } }>;
  };
}

const POLL_MS = 30_000;
const FILTER = JSON.stringify({
  presence: { types: [] },
  account_data: { types: [] },
  room: { ephemeral: { types: [] }, account_data: { types: [] }, timeline: { limit: 100 } },
});

/** Begins to listen; what happens after this has resolved is seen. A homeserver that goes away is asked again until it is back. `read` may decrypt. */
export async function openTimeline(
  call: Call,
  read: (event: RoomEvent) => RoomEvent | Promise<RoomEvent> = (event) => event,
): Promise<Timeline> {
  const stopped = new AbortController();
  const events: RoomEvent[] = [];
  const seen = new Set<string>();
  const invites: { roomId: string; sender: string }[] = [];
  const listeners = new Set<(event: RoomEvent) => void>();
  const waiting = new Set<() => void>();

  const sync = (since: string | null, timeout: number) =>
    call<SyncAnswer>(
      'GET',
      withQuery('/_matrix/client/v3/sync', { filter: FILTER, timeout: String(timeout), ...(since !== null && { since }) }),
      undefined,
      stopped.signal,
    );

  const take = async (answer: SyncAnswer, since: string) => {
    for (const [roomId, { timeline }] of Object.entries(answer.rooms?.join ?? {})) {
      const gap = timeline.limited && timeline.prev_batch ? await missed(call, roomId, timeline.prev_batch, since) : [];
      for (const event of [...gap, ...timeline.events]) if (!seen.has(event.event_id)) add(await read({ ...event, room_id: roomId }));
    }
    for (const [roomId, { timeline }] of Object.entries(answer.rooms?.leave ?? {}))
      for (const event of timeline.events) add({ ...event, room_id: roomId });
    for (const [roomId, { invite_state }] of Object.entries(answer.rooms?.invite ?? {})) {
      const member = invite_state.events.findLast((event) => event.type === 'm.room.member' && event.content['membership'] === 'invite');
      invites.push({ roomId, sender: member?.sender ?? '' });
    }
    for (const look of waiting) look();
  };

  const add = (event: RoomEvent) => {
    if (seen.has(event.event_id)) return;
    seen.add(event.event_id);
    events.push(event);
    for (const listener of listeners) listener(event);
  };

  const listen = async (from: string) => {
    for (let since = from; !stopped.signal.aborted;) {
      try {
        const answer = await sync(since, POLL_MS);
        await take(answer, since);
        since = answer.next_batch;
      } catch {
        await sleep(200, undefined, { ref: false }); // asked to stop, or the homeserver is away
      }
    }
  };

  /** Looks now and after each answer of the homeserver, until there is something or the time is over. */
  const found = async <T>(what: string, ms: number, look: () => T | undefined): Promise<T> =>
    await new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        waiting.delete(again);
        reject(new Error(`no ${what} within ${ms} ms; the last of ${events.length} events:\n${events.slice(-10).map(line).join('\n')}`));
      }, ms);
      const again = () => {
        const result = look();
        if (result === undefined) return;
        clearTimeout(timer);
        waiting.delete(again);
        resolve(result);
      };
      waiting.add(again);
      again();
    });

  void listen((await sync(null, 0)).next_batch);
  return {
    events,
    invites,
    onEvent(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    waitFor: (fits, ms = 10_000, after) =>
      found('event that fits', ms, () => {
        const first = after === undefined ? 0 : events.findIndex((event) => event.event_id === after) + 1;
        return after !== undefined && first === 0 ? undefined : events.slice(first).find(fits);
      }),
    waitForInvite: (fits = () => true, ms = 10_000) => found('invite', ms, () => invites.find(fits)),
    stop: () => stopped.abort(),
  };
}

/** The events between two tokens that a sync left out, oldest first. */
async function missed(call: Call, roomId: string, from: string, since: string): Promise<RoomEvent[]> {
  const gap: RoomEvent[] = [];
  for (let token: string | undefined = from; token !== undefined;) {
    const query = { dir: 'b', limit: '500', from: token, to: since };
    const page: { chunk: RoomEvent[]; end?: string } = await call(
      'GET',
      withQuery(`/_matrix/client/v3/rooms/${encodeURIComponent(roomId)}/messages`, query),
    );
    gap.push(...page.chunk);
    token = page.end;
  }
  return gap.reverse();
}

function withQuery(path: string, query: Record<string, string>): string {
  return `${path}?${new URLSearchParams(query).toString()}`;
}

function line(event: RoomEvent): string {
  return `  ${event.sender} ${event.type} ${JSON.stringify(event.content).slice(0, 300)}`;
}
