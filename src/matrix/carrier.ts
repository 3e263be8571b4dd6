import type { Carrier } from '../secrets/handovers.ts';
import { text } from '../reply/parts.ts';
import type { HandoverRecord } from '../store/handovers.ts';
import type { Store } from '../store/store.ts';
import type { DirectMessages } from './direct.ts';
import type { Exports } from './exports.ts';
import type { Place } from './outgoing.ts';
import type { Sender } from './sender.ts';
import type { RoomWriter } from './writer.ts';

export interface RoomCarrierOptions {
  store: Store;
  exports: Exports;
  writer: RoomWriter;
  sender: Sender;
  direct: DirectMessages;
}

/** Brings encrypted files to the admin room, under the command that made them. */
export class RoomCarrier implements Carrier {
  readonly #options: RoomCarrierOptions;

  constructor(options: RoomCarrierOptions) {
    this.#options = options;
  }

  async file(handover: HandoverRecord, name: string, content: string, queued: () => void): Promise<void> {
    const { store, exports, writer, sender } = this.#options;
    const path = await exports.write(name, once(content));
    store.transaction(() => {
      writer.handover(handover.ref, { name, path }, this.#placeOf(handover));
      queued();
    });
    sender.kick();
  }

  async direct(handover: HandoverRecord, queued: () => void): Promise<'queued' | 'waiting' | 'declined'> {
    const { direct, store, writer, sender } = this.#options;
    const room = await direct.roomFor(handover.recipient, handover.ref);
    if (typeof room !== 'string') return room.not;
    store.transaction(() => {
      writer.secret(handover.ref, room);
      queued();
    });
    sender.kick();
    return 'queued';
  }

  refused(handover: HandoverRecord, lies: { name: string; expiresAt: number } | null): void {
    const { writer, sender } = this.#options;
    writer.reply(
      `handover-${handover.ref}`,
      {
        command: null,
        outcome: 'failed',
        parts: [
          text(
            'The password of ',
            { id: handover.account },
            ` could not be handed over: ${handover.way === 'dm' ? 'you are not with me alone in a direct message' : 'the homeserver did not take the file'}.`,
          ),
          lies === null
            ? text('It is gone from the host too; ', { command: `user update-password ${handover.account}` }, ' makes another.')
            : text('It is in the file ', { code: lies.name }, ' until ', { time: lies.expiresAt }, '.'),
        ],
        mentions: [handover.userId],
      },
      this.#placeOf(handover),
      null,
    );
    queueMicrotask(() => {
      sender.kick();
    });
  }

  #placeOf(handover: HandoverRecord): Place {
    return { ...this.#options.writer.open, replyTo: handover.eventId, threadId: handover.threadId };
  }
}

async function* once(content: string): AsyncGenerator<string> {
  yield await Promise.resolve(content);
}
