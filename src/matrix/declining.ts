import type { Clock, Ids } from '../clock.ts';
import { text } from '../reply/parts.ts';
import type { Reply } from '../reply/reply.ts';
import type { Invitation, Invitations } from '../store/invitations.ts';
import type { Store } from '../store/store.ts';
import type { Log } from '../telemetry/log.ts';
import { Backoff } from './backoff.ts';
import { MatrixRequestError, type MatrixClient } from './client.ts';

export interface DecliningOptions {
  client: () => MatrixClient;
  /** The admin room, which is never left. */
  roomId: string;
  store: Store;
  invitations: Invitations;
  clock: Clock;
  ids: Ids;
  log: Log;
  /** Tells the admin room, once for a cause; in the transaction that forgets the invitation. */
  announce: (cause: string, reply: Reply) => void;
}

/** Declines what Steward is invited to, and tells. What cannot be declined now is in the store until it can, over any restart. */
export class Declining {
  readonly #options: DecliningOptions;
  readonly #stop = new AbortController();
  #running: Promise<void> | null = null;

  constructor(options: DecliningOptions) {
    this.#options = options;
  }

  /** Declines what waits, if that is not under way. */
  kick(): void {
    this.#running ??= this.#drain().finally(() => {
      this.#running = null;
    });
  }

  stop(): void {
    this.#stop.abort();
  }

  async #drain(): Promise<void> {
    const { clock, ids, invitations, log } = this.#options;
    const { signal } = this.#stop;
    const backoff = new Backoff(ids);
    try {
      for (let open = invitations.all(); open.length > 0 && !signal.aborted; open = invitations.all()) {
        let failed: Error | null = null;
        for (const invitation of open) failed = (await this.#decline(invitation)) ?? failed;
        if (failed === null) backoff.reset();
        else await clock.sleep(backoff.next(failed), signal);
      }
    } catch (error) {
      log.error('invitations are declined later', { error });
    }
  }

  /** @returns why it is to be tried again; null where it is not */
  async #decline(invitation: Invitation): Promise<Error | null> {
    const { announce, client, log, roomId: ours, store } = this.#options;
    const { inviter, roomId } = invitation;
    try {
      if (roomId !== ours) await client().leave(roomId);
    } catch (error) {
      log.warn('an invitation could not be declined', { room_id: roomId, error });
      if (!(error instanceof MatrixRequestError)) throw error;
      if (error.isTemporary || error.isUnknownToken) return error;
      // It was taken back, or the room is gone.
      this.#options.invitations.remove(roomId);
      return null;
    }
    store.transaction(() => {
      this.#options.invitations.remove(roomId);
      if (roomId !== ours) announce(`invite-${roomId}-${inviter}`, declined(invitation));
    });
    return null;
  }
}

function declined({ inviter, roomId }: Invitation): Reply {
  return {
    command: null,
    outcome: 'done',
    parts: [text('I was invited to ', { id: roomId }, ' by ', { id: inviter }, ' and declined. I work in this room only.')],
  };
}
