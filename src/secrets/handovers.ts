import { steward, type Audit } from '../audit/audit.ts';
import type { Ids } from '../clock.ts';
import type { HandoverRecord, HandoverStore } from '../store/handovers.ts';
import type { Store } from '../store/store.ts';
import type { Log } from '../telemetry/log.ts';
import { encryptTo } from './age.ts';
import type { Choice } from './ladder.ts';
import type { SecretSink } from './sink.ts';

/** Carries to a person what is safe to be seen by others: encrypted files. */
export interface Carrier {
  /**
   * Sends a file to the place where the command was typed, durably and once for each `ref`. `queued` is called inside
   * the transaction that keeps it; `Handovers.ended` afterwards, when the homeserver has it or will never take it.
   */
  file(handover: HandoverRecord, name: string, content: string, queued: () => void): Promise<void>;
  /** Sends the text of the handover to the person alone, encrypted. `waiting` until the person is in the room; nothing is kept then. */
  direct(handover: HandoverRecord, queued: () => void): Promise<'queued' | 'waiting' | 'declined'>;
  /** Tells the person that it could not be handed over and where it still is, inside the caller's transaction. */
  refused(handover: HandoverRecord, lies: { name: string; expiresAt: number } | null): void;
}

export interface HandoversOptions {
  store: Store;
  audit: Audit;
  handovers: HandoverStore;
  sink: SecretSink;
  ids: Ids;
  log: Log;
}

/**
 * Hands passwords over that lie in the file sink: the file is the safe place, and goes when the person has the password
 * another way. Every step is in the store before the next one, so that a crash at any point repeats nothing that is seen
 * and loses no password: at worst the file stays until its time is over.
 */
export class Handovers {
  readonly #options: HandoversOptions;
  #carrier: Carrier | null = null;
  #running: Promise<void> | null = null;
  #again = false;

  constructor(options: HandoversOptions) {
    this.#options = options;
  }

  /** There is a room to carry to. */
  set carrier(carrier: Carrier) {
    this.#carrier = carrier;
  }

  /** A password that the homeserver has is to be handed over once its job has ended. Whatever was to happen to an older one does not. */
  hold(account: string, userId: string | null, choice: Choice): void {
    const { handovers, ids } = this.#options;
    if (choice.to === null || (choice.way !== 'age' && choice.way !== 'dm') || userId === null) this.drop(account);
    else handovers.put({ account, way: choice.way, recipient: choice.to, userId, ref: ids.short(16) });
  }

  /** The account's password is handed to nobody. */
  drop(account: string): void {
    this.#options.handovers.removeOf(account);
  }

  /** A job on these accounts has ended; in the transaction of its end. What a schedule asked for answers nothing. */
  release(accounts: readonly string[], origin: { kind: string; eventId?: string; threadId?: string | null }): void {
    for (const account of accounts) this.#options.handovers.release(account, origin.eventId ?? null, origin.threadId ?? null);
    queueMicrotask(() => {
      this.kick();
    });
  }

  /** What was carried has arrived, or never will; in the transaction that says so. */
  ended(ref: string, arrived: boolean): void {
    const { audit, handovers } = this.#options;
    const handover = handovers.find(ref);
    // An older password that a newer one has overtaken is nobody's business any more.
    if (handover === null || !handovers.move(ref, 'sending', arrived ? 'delivered' : 'refused')) return;
    audit.record({
      event: arrived ? 'secret.handed-over' : 'secret.not-handed-over',
      actor: steward,
      targets: [handover.account],
      eventId: handover.eventId ?? undefined,
      detail: { way: handover.way, to: handover.recipient },
    });
    queueMicrotask(() => {
      this.kick();
    });
  }

  /** Account and text of a handover that is being sent, or null when a newer password has overtaken it. */
  async textOf(ref: string): Promise<{ account: string; note: string } | null> {
    const { handovers, sink } = this.#options;
    const handover = handovers.find(ref);
    if (handover?.state !== 'sending' || !sink.isSettled(handover.account)) return null;
    const note = await sink.read(handover.account);
    return note === null ? null : { account: handover.account, note: note.replace(/^(?:Created|Expires): .*\n/gm, '') };
  }

  /** Goes on with what is due, if that is not under way. */
  kick(): void {
    this.#again = true;
    this.#running ??= this.#drain().finally(() => {
      this.#running = null;
    });
  }

  /** Resolves when nothing is under way. */
  async idle(): Promise<void> {
    while (this.#running !== null) await this.#running;
  }

  async #drain(): Promise<void> {
    const { handovers, log } = this.#options;
    while (this.#again) {
      this.#again = false;
      for (const handover of handovers.inState('due', 'delivered', 'refused')) {
        // The file still has it, and housekeeping comes by again.
        await this.#step(handover).catch((error: unknown) => {
          log.error('a password could not be handed over yet', { user_id: handover.account, error });
        });
      }
    }
  }

  async #step(handover: HandoverRecord): Promise<void> {
    const { store, handovers, sink } = this.#options;
    const { account, ref } = handover;
    if (handover.state === 'delivered') {
      // A newer password that is on its way to the homeserver keeps this file until it is known which one is true.
      if (!sink.isSettled(account)) return;
      await sink.remove(account);
      handovers.remove(ref);
      return;
    }
    if (this.#carrier === null) return;
    if (handover.state === 'refused') {
      store.transaction(() => {
        this.#carrier?.refused(handover, sink.find(account));
        handovers.remove(ref);
      });
      return;
    }
    if (!sink.isSettled(account)) return;
    const note = await sink.read(account);
    if (note === null) {
      // Its time is over, or another way was taken with the account since.
      handovers.remove(ref);
      return;
    }
    // What is handed over has no time of its own.
    if (handover.way === 'dm') {
      const outcome = await this.#carrier.direct(handover, () => handovers.move(ref, 'due', 'sending'));
      if (outcome === 'declined') handovers.move(ref, 'due', 'refused');
      this.#again ||= outcome === 'declined';
      return;
    }
    const file = await encryptTo(handover.recipient, note.replace(/^Expires: .*\n/m, ''));
    await this.#carrier.file(handover, `${fileName(account)}.age`, file, () => handovers.move(ref, 'due', 'sending'));
  }
}

/** `@carol:example.org` as `carol_example.org`: nothing in it but what every file system takes. */
function fileName(account: string): string {
  return account
    .slice(1)
    .replace(/[^\w.-]/g, '_')
    .slice(0, 100);
}
