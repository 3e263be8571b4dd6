import { steward, type Audit } from '../../audit/audit.ts';
import type { Clock } from '../../clock.ts';
import type { Config } from '../../config/schema.ts';
import type { IdentityPins } from '../../store/identity-pins.ts';
import type { Decryption, Device } from './device.ts';

/** Follows the cross-signing identities of the accounts that may command, and judges the devices that commands come from. */
export class Identities {
  readonly #pins: IdentityPins;
  readonly #config: () => Config;
  readonly #clock: Clock;
  readonly #audit: Audit;
  /** Accounts that have been looked at, since when they are followed. */
  #looked = new Set<string>();

  constructor(pins: IdentityPins, config: () => Config, clock: Clock, audit: Audit) {
    this.#pins = pins;
    this.#config = config;
    this.#clock = clock;
    this.#audit = audit;
  }

  /** The accounts that are followed whether or not they say something: those of people, and Steward's own. */
  followed(): string[] {
    const { people, homeserver } = this.#config();
    return [...Object.values(people).flatMap(({ userIds }) => userIds), ...(homeserver === undefined ? [] : [homeserver.userId])];
  }

  /** The identities of followed accounts, where they have been asked for, are not pinned yet, or were not followed a moment ago. */
  async look(device: Device): Promise<Map<string, string>> {
    const [asked, followed] = [device.takeAsked(), this.followed()];
    const found = new Map<string, string>();
    for (const userId of followed) {
      if (!asked.has(userId) && this.#looked.has(userId) && this.#pins.get(userId) !== null) continue;
      const identity = await device.identityOf(userId);
      if (identity !== null) found.set(userId, identity);
    }
    this.#looked = new Set(followed);
    return found;
  }

  /** Keeps what `look` has found; the first identity of an account is pinned. @returns accounts that have another one now */
  note(found: ReadonlyMap<string, string>): string[] {
    const changed = [...found].flatMap(([userId, identity]) => (this.#pins.observe(userId, identity, this.#clock.now()) ? [userId] : []));
    for (const userId of changed) this.#audit.record({ event: 'identity.changed', actor: steward, targets: [userId] });
    return changed;
  }

  /** Whether what came from this device may be acted on, by `encryption.accept`. */
  accepts(sender: string, { crossSigned, deviceKey }: Decryption & { kind: 'decrypted' }): boolean {
    if (crossSigned) return true;
    const { accept } = this.#config().encryption;
    if (accept !== 'tofu' || deviceKey === null) return accept === 'any';
    const first = `device ${deviceKey}`;
    const pin = this.#pins.get(sender);
    if (pin === null) this.#pins.pin(sender, first, this.#clock.now());
    return pin === null || pin.identity === first;
  }
}
