import type { Clock } from '../clock.ts';
import type { Config } from '../config/schema.ts';
import type { Rung } from '../secrets/ladder.ts';
import type { DirectRooms } from '../store/direct-rooms.ts';
import type { Disclosure, Disclosures } from '../store/disclosures.ts';
import type { IdentityPins } from '../store/identity-pins.ts';
import type { Outbox } from '../store/outbox.ts';
import type { Posts } from '../store/posts.ts';
import type { Store } from '../store/store.ts';
import type { MatrixClient } from './client.ts';
import type { Encryption } from './crypto/encryption.ts';
import { txnId } from './outgoing.ts';
import type { Button } from './room.ts';
import type { Sender } from './sender.ts';

export interface DirectMessagesOptions {
  /** The admin room. */
  roomId: string;
  userId: string;
  config: () => Config;
  client: () => MatrixClient;
  encryption: Encryption;
  pins: IdentityPins;
  store: Store;
  rooms: DirectRooms;
  disclosures: Disclosures;
  posts: Posts;
  outbox: Outbox;
  sender: () => Sender;
  clock: Clock;
}

const encrypted = { algorithm: 'm.megolm.v1.aes-sha2' };

/** Rooms in which one person is alone with Steward, and the secrets in them, which are taken away again. */
export class DirectMessages implements Rung {
  readonly #options: DirectMessagesOptions;

  constructor(options: DirectMessagesOptions) {
    this.#options = options;
  }

  /** Only where the command itself came encrypted, and only to devices that their owner has signed. */
  async offer({ person, userId }: { person: string | null; userId: string | null }): Promise<{ to: string } | { refused: string }> {
    const { config, encryption, pins, roomId } = this.#options;
    if (person === null || userId === null) return { refused: 'the shell names nobody to write to' };
    if (!encryption.isEncrypted(roomId)) return { refused: 'the admin room is not encrypted' };
    if (pins.standing(config().people[person]?.userIds ?? [userId]) === 'changed')
      return { refused: `the cross-signing identity of ${person} has changed` };
    const devices = await encryption.exclusive((device) => device.signedDevices(userId));
    return devices === 0 ? { refused: `no cross-signed device of ${person}` } : { to: userId };
  }

  /**
   * The room with a person, made for this handover where there is none that is fit.
   *
   * @returns `waiting` until the person is in it, `declined` when the person is not and will not be, or is not alone
   */
  async roomFor(userId: string, ref: string): Promise<string | { not: 'waiting' | 'declined' }> {
    const { client, encryption, rooms } = this.#options;
    const known = rooms.of(userId);
    if (known !== null && encryption.isEncrypted(known.roomId)) {
      const { joined, invited } = await client().members(known.roomId);
      const alone = [...joined, ...invited].every((member) => member === userId || member === this.#options.userId);
      if (alone && joined.includes(userId) && joined.includes(this.#options.userId)) return known.roomId;
      if (alone && invited.includes(userId)) return { not: 'waiting' };
      if (known.madeFor === ref) return { not: 'declined' };
    }
    await this.#make(userId, ref);
    return { not: 'waiting' };
  }

  /** In the transaction that marks it as sent: it goes again, after its time or when the person says so. */
  disclosed(disclosure: Disclosure): void {
    const { clock, config, disclosures, posts } = this.#options;
    disclosures.add(disclosure, clock.now() + config().secrets.dm.remove);
    posts.put(disclosure.eventId, { kind: 'disclosed', ref: disclosure.eventId });
  }

  /** 👁 or ✅ of the person for whom it is. */
  readonly button: Button = ({ post, key, userId }) => {
    const disclosure = this.#options.disclosures.get(post.ref);
    if (disclosure !== null && disclosure.userId === userId && (key === '👁' || key === '✅')) this.#remove(disclosure);
    return null;
  };

  /** Takes away what is due. */
  removeDue(): void {
    const { clock, disclosures } = this.#options;
    for (const disclosure of disclosures.due(clock.now())) this.#remove(disclosure);
  }

  #remove({ eventId, roomId, userId }: Disclosure): void {
    const { clock, disclosures, outbox, sender, store } = this.#options;
    store.transaction(() => {
      const content = { redacts: eventId, reason: 'it held a secret', sender: userId };
      outbox.add({ txnId: txnId(eventId, 'redact'), roomId, kind: 'redaction', content }, clock.now());
      disclosures.remove(eventId);
    });
    sender().kick();
  }

  async #make(userId: string, ref: string): Promise<void> {
    const { client, encryption, rooms, store } = this.#options;
    const roomId = await client().createRoom({
      preset: 'private_chat',
      is_direct: true,
      invite: [userId],
      initial_state: [
        { type: 'm.room.encryption', state_key: '', content: encrypted },
        // What was said before somebody came is not for them.
        { type: 'm.room.history_visibility', state_key: '', content: { history_visibility: 'joined' } },
        { type: 'm.room.guest_access', state_key: '', content: { guest_access: 'forbidden' } },
      ],
      power_level_content_override: { invite: 100 },
    });
    store.transaction(() => {
      encryption.note(roomId, encrypted);
      rooms.put(userId, { roomId, madeFor: ref });
    });
    const own = this.#options.userId;
    const direct = (await client().accountData(own, 'm.direct')) ?? {};
    await client().setAccountData(own, 'm.direct', { ...direct, [userId]: [roomId] });
  }
}
