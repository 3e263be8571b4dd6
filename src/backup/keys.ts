import { createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Clock } from '../clock.ts';
import { Secret } from '../config/secret.ts';
import { ageLibrary } from '../secrets/age-library.ts';
import type { BackupStore, EpochRow } from '../store/backups.ts';
import { identitiesIn, type KeySettings } from './identities.ts';
import type { Recipients } from './recipients.ts';

/**
 * Backups are sealed to an epoch: a key pair made anew each month, whose private half is kept only sealed to the admins'
 * recipients. Nobody who has Steward's store can open a backup by it.
 */
export class EpochKeys {
  readonly #settings: KeySettings;
  readonly #store: BackupStore;
  readonly #clock: Clock;
  readonly recipients: Recipients;

  constructor(settings: KeySettings, store: BackupStore, recipients: Recipients, clock: Clock) {
    this.#settings = settings;
    this.#store = store;
    this.recipients = recipients;
    this.#clock = clock;
  }

  /** `mounted`: Steward opens backups by itself; `sealed`: only an admin does. */
  get mode(): 'sealed' | 'mounted' {
    return this.#settings.identity === undefined ? 'sealed' : 'mounted';
  }

  /**
   * The epoch to seal to now, made where this month has none for these recipients.
   *
   * @throws Failure `backup.no-recipient`
   */
  async current(): Promise<EpochRow> {
    const recipients = await this.recipients.accepted();
    const epoch = this.#ofNow(recipients).epoch ?? (await this.#make(recipients));
    await this.#openOwn(epoch);
    return epoch;
  }

  async #make(recipients: readonly string[]): Promise<EpochRow> {
    const { generateX25519Identity, identityToRecipient } = await ageLibrary();
    const identity = await generateX25519Identity();
    const recipient = await identityToRecipient(identity);
    const sealed = await sealEpoch(recipient, new Secret(identity), recipients);
    const { epoch, name } = this.#ofNow(recipients);
    // Another command may have made one meanwhile.
    if (epoch !== null) return epoch;
    const made: EpochRow = { name, createdAt: this.#clock.now(), recipient, sealed, recipients, openedAt: null };
    this.#store.addEpoch(made);
    return made;
  }

  /** The epoch of this month for these recipients, or null; and what another one would be called. */
  #ofNow(recipients: readonly string[]): { epoch: EpochRow | null; name: string } {
    const month = new Date(this.#clock.now()).toISOString().slice(0, 7);
    const epochs = this.#store.epochs().filter(({ name }) => name.startsWith(month));
    const taken = new Set(epochs.map(({ name }) => name));
    let name = month;
    // Of a catalogue that was made anew from a destination some are missing.
    for (let n = 2; taken.has(name); n += 1) name = `${month}-${n}`;
    return { epoch: epochs.findLast((each) => String(each.recipients) === String(recipients)) ?? null, name };
  }

  /** Names of the epochs that somebody has shown to be able to open. */
  openable(): ReadonlySet<string> {
    const confirmed = this.recipients.confirmed();
    const isShown = ({ openedAt, recipients }: EpochRow): boolean =>
      openedAt !== null || recipients.some((recipient) => confirmed.has(recipient));
    return new Set(this.#store.epochs().flatMap((epoch) => (isShown(epoch) ? [epoch.name] : [])));
  }

  /** Epochs as they are sealed now: since they were put beside a backup, they may have been sealed to others. */
  asSealedNow<Epoch extends Pick<EpochRow, 'recipient'> & { sealed: Uint8Array }>(epochs: readonly Epoch[]): Epoch[] {
    const now = new Map(this.#store.epochs().map(({ recipient, sealed }) => [recipient, sealed]));
    return epochs.map((epoch) => ({ ...epoch, sealed: now.get(epoch.recipient) ?? epoch.sealed }));
  }

  /** Somebody's key has opened these. @param recipients the epochs' public halves */
  opened(recipients: Iterable<string>): void {
    for (const recipient of recipients) this.#store.epochOpened(recipient, this.#clock.now());
  }

  /**
   * Seals the epochs that a key opens to whom backups are sealed now, where they are sealed to others.
   *
   * @returns names of those that were
   */
  async reseal(identity: Secret): Promise<string[]> {
    const opened = await epochIdentities(identity, await this.sealedToOthers());
    return this.resealOpened([...opened.values()]);
  }

  /** As `reseal`, by the private halves themselves. */
  async resealOpened(halves: readonly Secret[]): Promise<string[]> {
    const { identityToRecipient } = await ageLibrary();
    const opened = new Map<string, Secret>();
    for (const half of halves) opened.set(await identityToRecipient(half.reveal()), half);
    const recipients = await this.recipients.accepted();
    const resealed: string[] = [];
    for (const { name, recipient } of await this.sealedToOthers()) {
      const half = opened.get(recipient);
      if (half === undefined) continue;
      const sealed = await sealEpoch(recipient, half, recipients);
      this.#store.transaction(() => {
        this.#store.resealEpoch({ name, sealed, recipients });
        this.#store.epochOpened(recipient, this.#clock.now());
      });
      resealed.push(name);
    }
    return resealed;
  }

  /** Epochs that are sealed to others than backups are now. */
  async sealedToOthers(): Promise<EpochRow[]> {
    const epochs = this.#store.epochs();
    if (epochs.length === 0) return [];
    const recipients = String(await this.recipients.accepted());
    return epochs.filter((epoch) => String(epoch.recipients) !== recipients);
  }

  all(): EpochRow[] {
    return this.#store.epochs();
  }

  /** What opens all epochs, where it is given. */
  get identity(): Secret | null {
    return this.#settings.identity ?? null;
  }

  /** Shows that the mounted key opens an epoch, by opening it: that recipient needs no challenge. */
  async #openOwn(epoch: EpochRow): Promise<void> {
    const { identity } = this.#settings;
    if (identity === undefined) return;
    const { identityToRecipient } = await ageLibrary();
    const confirmed = this.recipients.confirmed();
    for (const line of identitiesIn(identity)) {
      const recipient = await identityToRecipient(line);
      if (confirmed.has(recipient)) continue;
      if ((await epochIdentities(new Secret(line), [epoch])).size > 0) this.recipients.confirm(recipient);
    }
  }
}

/** The private half of an epoch as it is stored: an age file that each of the recipients opens. */
async function sealEpoch(recipient: string, identity: Secret, recipients: readonly string[]): Promise<Buffer> {
  const { Encrypter } = await ageLibrary();
  const encrypter = new Encrypter();
  for (const admin of recipients) encrypter.addRecipient(admin);
  return Buffer.from(await encrypter.encrypt(`# key of an epoch, ${recipient}\n${identity.reveal()}\n`));
}

/** Private halves of the epochs that an admin's identity opens, by the epoch's name. */
export async function epochIdentities(
  identity: Secret,
  epochs: readonly { name: string; recipient: string; sealed: Uint8Array }[],
): Promise<Map<string, Secret>> {
  const { Decrypter, identityToRecipient } = await ageLibrary();
  const decrypter = new Decrypter();
  for (const line of identitiesIn(identity)) decrypter.addIdentity(line);
  const opened = new Map<string, Secret>();
  for (const { name, recipient, sealed } of epochs) {
    const text = await decrypter.decrypt(new Uint8Array(sealed), 'text').catch(() => '');
    for (const line of identitiesIn(new Secret(text)))
      if ((await identityToRecipient(line)) === recipient) opened.set(name, new Secret(line));
  }
  return opened;
}

/** The key that manifests are signed with, made when it is first needed. */
export function signingKey(path: string): KeyObject {
  if (!existsSync(path)) {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    const pem = generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' });
    writeFileSync(`${path}.tmp`, pem, { mode: 0o600, flush: true });
    renameSync(`${path}.tmp`, path);
  }
  return createPrivateKey(readFileSync(path));
}
