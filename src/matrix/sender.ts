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
  /** In the transaction that marks an entry as one that the server will never take. */
  refused: (entry: OutboxEntry) => void;
  /** The token is dead: nothing can be sent until there is another. */
  tokenLost: () => void;
  /** Whether it is known how this room is: nothing is written before. */
  mayWrite: (roomId: string) => boolean;
  cipher: RoomCipher;
  /** What a message of kind `secret` says, or null when there is nothing to say any more. */
  secret: (entry: OutboxEntry) => Promise<Record<string, unknown> | null>;
}

/** What makes messages unreadable for all but the members of a room. */
export interface RoomCipher {
  /** Once true, always true. */
  isEncrypted(roomId: string): boolean;
  /** `keep` is called in the transaction that keeps the session which the content was encrypted with. */
  encrypt(
    roomId: string,
    type: string,
    content: Record<string, unknown>,
    keep: (encrypted: Record<string, unknown>) => void,
  ): Promise<Record<string, unknown>>;
}

/** How often an entry is refused before the homeserver until it is seen whether another one gets through. */
const mostRefusals = 3;

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
  /** How often something before the homeserver has refused the entry that is next. */
  #refusals = { seq: 0, count: 0 };

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
    if (this.#stop.signal.aborted) return null;
    const entry = this.#options.outbox.next();
    return entry !== null && this.#options.mayWrite(entry.roomId) ? entry : null;
  }

  async #deliver(entry: OutboxEntry): Promise<void> {
    const { store, outbox, clock, sent, refused, log } = this.#options;
    try {
      const eventId = await this.#send(entry);
      store.transaction(() => {
        outbox.sent(entry.seq, eventId, clock.now());
        sent(entry, eventId);
      });
    } catch (error) {
      const isFinal = error instanceof NeverSent || (error instanceof MatrixRequestError && !error.isTemporary && !error.isUnknownToken);
      if (!isFinal && !(await this.#isRefusedAlone(entry, error))) throw error;
      // The same reaction is there already, which is what was wanted.
      const { status, errcode } = error instanceof MatrixRequestError ? error : { status: null, errcode: null };
      if (errcode !== 'M_DUPLICATE_ANNOTATION')
        log.error('the homeserver refuses an event', { status: status ?? 0, errcode: errcode ?? '' });
      store.transaction(() => {
        outbox.failed(entry.seq, (error as Error).message, clock.now());
        refused(entry);
      });
      return;
    }
    if (entry.file !== null) await rm(entry.file, { force: true });
  }

  /**
   * Whether something before the homeserver refuses this very entry, again and again, and takes a word about that in its
   * place: what is behind the entry must not wait for it. Where it takes nothing, all wait.
   */
  async #isRefusedAlone(entry: OutboxEntry, error: unknown): Promise<boolean> {
    if (!(error instanceof MatrixRequestError) || !error.isRefusedBetween) return false;
    this.#refusals = { seq: entry.seq, count: this.#refusals.seq === entry.seq ? this.#refusals.count + 1 : 1 };
    if (this.#refusals.count < mostRefusals) return false;
    const relation = (entry.content['m.relates_to'] as { 'm.in_reply_to'?: unknown } | undefined)?.['m.in_reply_to'];
    const what = entry.kind === 'm.reaction' ? 'reaction' : entry.kind === 'redaction' ? 'removal' : 'message';
    const content = {
      msgtype: 'm.notice',
      body: `Something before the homeserver refuses a ${what} of mine (status ${error.status ?? 0}); it is not sent.`,
      'm.mentions': {},
      ...(relation === undefined ? {} : { 'm.relates_to': { 'm.in_reply_to': relation } }),
    };
    return this.#put(`${entry.txnId}-refused`, entry.roomId, content).then(
      () => true,
      () => false,
    );
  }

  /** A message that is in no outbox. */
  async #put(txnId: string, roomId: string, content: Record<string, unknown>): Promise<void> {
    const { cipher, client } = this.#options;
    if (!cipher.isEncrypted(roomId)) await client().send(roomId, 'm.room.message', txnId, content);
    else await client().send(roomId, 'm.room.encrypted', txnId, await cipher.encrypt(roomId, 'm.room.message', content, () => undefined));
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
      case 'm.reaction':
        return client.send(roomId, entry.kind, txnId, related(content, about));
      case 'file':
      case 'secret':
      case 'm.room.message':
        return this.#sendMessage(client, entry, about);
    }
  }

  async #sendMessage(client: MatrixClient, entry: OutboxEntry, about: string | null): Promise<string> {
    const { roomId, txnId } = entry;
    // Encrypted once, and sent as it is from then on: a message index is never used for two texts.
    if (entry.encrypted !== null) return client.send(roomId, 'm.room.encrypted', txnId, entry.encrypted);
    const { cipher, outbox } = this.#options;
    const isEncrypted = cipher.isEncrypted(roomId);
    const sent = entry.doubted === null ? null : await client.findOwn(roomId, related(entry.doubted, about));
    if (sent !== null) return sent;
    const content = await this.#contentOf(client, entry, about, isEncrypted);
    if (!isEncrypted) return client.send(roomId, 'm.room.message', txnId, content);
    const encrypted = await cipher.encrypt(roomId, 'm.room.message', content, (kept) => {
      outbox.setEncrypted(entry.seq, kept);
    });
    return client.send(roomId, 'm.room.encrypted', txnId, encrypted);
  }

  async #contentOf(client: MatrixClient, entry: OutboxEntry, about: string | null, isEncrypted: boolean): Promise<Record<string, unknown>> {
    if (entry.kind === 'file') return this.#upload(client, entry, isEncrypted);
    if (entry.kind !== 'secret') return related(entry.content, about);
    if (!isEncrypted) throw new NeverSent('a secret is never sent in plain');
    const content = await this.#options.secret(entry);
    if (content === null) throw new NeverSent('there is no such secret any more');
    return content;
  }

  /** @returns the message about the file, or about why there is none */
  async #upload(client: MatrixClient, entry: OutboxEntry, isEncrypted: boolean): Promise<Record<string, unknown>> {
    const { content, file } = entry;
    const name = String(content['filename']);
    const mediaType = String((content['info'] as { mimetype?: string } | undefined)?.mimetype);
    try {
      if (isEncrypted) {
        const { encryptedFile, size } = await client.uploadEncrypted(file ?? '');
        return { ...content, file: encryptedFile, info: { mimetype: mediaType, size } };
      }
      const { uri, size } = await client.upload(file ?? '', name, mediaType);
      return { ...content, url: uri, info: { mimetype: mediaType, size } };
    } catch (error) {
      const body = whyNoFile(error, file ?? name);
      if (body === null) throw error;
      // A note in its place would count as the secret itself.
      if (entry.post?.kind === 'handover') throw new NeverSent(body);
      entry.file = null;
      return { ...content, msgtype: 'm.notice', body, filename: undefined, info: undefined };
    }
  }
}

/** What was to be sent cannot be, now or later. */
class NeverSent extends Error {
  override readonly name = 'NeverSent';
}

/** The content with the event that it is about, where that was not known when it was written. */
function related(content: Record<string, unknown>, about: string | null): Record<string, unknown> {
  const relation = content['m.relates_to'];
  return about === null || typeof relation !== 'object' ? content : { ...content, 'm.relates_to': { ...relation, event_id: about } };
}

/** What is said in place of a file that will never be sent; null where it may be sent later. */
function whyNoFile(error: unknown, path: string): string | null {
  if (error instanceof MatrixRequestError && error.status === 413)
    return `The file is larger than the homeserver takes. It lies on the host as ${path}, for 7 days.`;
  // A proxy that lets no upload through will not let the next one through, and nothing overtakes it.
  if (error instanceof MatrixRequestError && error.isRefusedBetween)
    return `Something before the homeserver refuses the file (status ${error.status ?? 0}). It lies on the host as ${path}, for 7 days.`;
  if ((error as NodeJS.ErrnoException).code === 'ENOENT') return 'The file is gone from the host. Run the command again for a new one.';
  return null;
}
