import { rm } from 'node:fs/promises';
import type { Clock, Ids } from '../clock.ts';
import type { Outbox, OutboxEntry } from '../store/outbox.ts';
import type { Store } from '../store/store.ts';
import type { Log } from '../telemetry/log.ts';
import { Backoff } from './backoff.ts';
import { MatrixRequestError, type MatrixClient } from './client.ts';

export interface SenderOptions {
  client: () => MatrixClient;
  store: Store;
  outbox: Outbox;
  clock: Clock;
  ids: Ids;
  log: Log;
  /** In the transaction that marks an entry as sent. */
  sent: (entry: OutboxEntry, eventId: string) => void;
  /** The token is dead: nothing can be sent until there is another. */
  tokenLost: () => void;
  /** False where the room is encrypted: nothing is ever written to it in plain. */
  mayWrite: () => boolean;
}

/**
 * Sends what is in the outbox, in order, each entry under its own transaction id, until the server has it or says that
 * it never will. What cannot be sent now waits; nothing overtakes it.
 */
export class Sender {
  readonly #options: SenderOptions;
  readonly #backoff: Backoff;
  #running: Promise<void> | null = null;
  #again = false;
  readonly #stop = new AbortController();
  #nap = new AbortController();
  #asked = false;

  constructor(options: SenderOptions) {
    this.#options = options;
    this.#backoff = new Backoff(options.ids);
  }

  /** Starts sending if it is not under way; call it after each addition. */
  kick(): void {
    this.#again = true;
    this.#running ??= this.#drain().finally(() => {
      this.#running = null;
      // Something may have been added between the last look and the end.
      if (this.#again && !this.#stop.signal.aborted) this.kick();
    });
  }

  /** Resolves when there is nothing under way. */
  async idle(): Promise<void> {
    while (this.#running !== null) await this.#running;
  }

  /** Tries again at once what failed, unless the server itself asked to wait: it answers again. */
  wake(): void {
    if (!this.#asked) this.#nap.abort();
  }

  stop(): void {
    this.#stop.abort();
    this.#nap.abort();
  }

  async #drain(): Promise<void> {
    const { clock, log, tokenLost } = this.#options;
    while (this.#again) {
      this.#again = false;
      for (let entry = this.#next(); entry !== null; entry = this.#next()) {
        try {
          await this.#deliver(entry);
          this.#backoff.reset();
        } catch (error) {
          if (error instanceof MatrixRequestError && error.isUnknownToken) tokenLost();
          const wait = this.#backoff.next(error);
          log.warn('an event could not be sent yet', { retry_after_ms: Math.round(wait), error });
          this.#asked = error instanceof MatrixRequestError && error.retryAfter !== null;
          this.#nap = new AbortController();
          if (!this.#stop.signal.aborted) await clock.sleep(wait, this.#nap.signal);
        }
      }
    }
  }

  #next(): OutboxEntry | null {
    return this.#stop.signal.aborted || !this.#options.mayWrite() ? null : this.#options.outbox.next();
  }

  async #deliver(entry: OutboxEntry): Promise<void> {
    const { store, outbox, clock, sent, log } = this.#options;
    try {
      const eventId = await this.#send(entry);
      store.transaction(() => {
        outbox.sent(entry.seq, eventId, clock.now());
        sent(entry, eventId);
      });
    } catch (error) {
      if (!(error instanceof MatrixRequestError) || error.isTemporary || error.isUnknownToken) throw error;
      // The same reaction is there already, which is what was wanted.
      if (error.errcode !== 'M_DUPLICATE_ANNOTATION')
        log.error('the homeserver refuses an event', { status: error.status ?? 0, errcode: error.errcode ?? '' });
      store.transaction(() => {
        outbox.failed(entry.seq, error.message, clock.now());
      });
      return;
    }
    if (entry.file !== null) await rm(entry.file, { force: true });
  }

  async #send(entry: OutboxEntry): Promise<string> {
    const { outbox } = this.#options;
    const client = this.#options.client();
    const about = entry.aboutTxn === null ? null : outbox.eventOf(entry.aboutTxn);
    const { roomId, txnId, content } = entry;
    switch (entry.kind) {
      case 'redaction':
        // What was never sent needs no taking back.
        return about === null && content['redacts'] === undefined
          ? ''
          : client.redact(roomId, about ?? String(content['redacts']), txnId, String(content['reason']));
      case 'file':
        return this.#sendFile(client, entry);
      case 'm.reaction':
      case 'm.room.message': {
        const relation = content['m.relates_to'];
        const whole =
          about === null || typeof relation !== 'object' ? content : { ...content, 'm.relates_to': { ...relation, event_id: about } };
        return client.send(roomId, entry.kind, txnId, whole);
      }
    }
  }

  async #sendFile(client: MatrixClient, entry: OutboxEntry): Promise<string> {
    const { roomId, txnId, content, file } = entry;
    const name = String(content['filename']);
    const mediaType = String((content['info'] as { mimetype?: string } | undefined)?.mimetype);
    try {
      const { uri, size } = await client.upload(file ?? '', name, mediaType);
      return await client.send(roomId, 'm.room.message', txnId, { ...content, url: uri, info: { mimetype: mediaType, size } });
    } catch (error) {
      const body = whyNoFile(error, file ?? name);
      if (body === null) throw error;
      const eventId = await client.send(roomId, 'm.room.message', txnId, {
        ...content,
        msgtype: 'm.notice',
        body,
        filename: undefined,
        info: undefined,
      });
      entry.file = null;
      return eventId;
    }
  }
}

/** What is said in place of a file that will never be sent; null where it may be sent later. */
function whyNoFile(error: unknown, path: string): string | null {
  if (error instanceof MatrixRequestError && error.status === 413)
    return `The file is larger than the homeserver takes. It lies on the host as ${path}, for 7 days.`;
  if ((error as NodeJS.ErrnoException).code === 'ENOENT') return 'The file is gone from the host. Run the command again for a new one.';
  return null;
}
