import { z } from 'zod';
import type { ClientApi } from './admin-room.ts';
import { readAnswer } from './bootstrap.ts';

/** Keys with what they are signed by: a device, or one cross-signing key. */
const signedKeys = z.looseObject({
  keys: z.record(z.string(), z.string()),
  signatures: z.record(z.string(), z.record(z.string(), z.string())).default({}),
});
export type SignedKeys = z.output<typeof signedKeys>;

const answer = z.object({
  device_keys: z.record(z.string(), z.record(z.string(), signedKeys)).default({}),
  master_keys: z.record(z.string(), signedKeys).default({}),
  self_signing_keys: z.record(z.string(), signedKeys).default({}),
  user_signing_keys: z.record(z.string(), signedKeys).default({}),
});

/** What the homeserver shows of an account's keys; null is not there. */
export interface PublishedAccount {
  master: SignedKeys | null;
  selfSigning: SignedKeys | null;
  /** Shown to the account itself only. */
  userSigning: SignedKeys | null;
  devices: Readonly<Record<string, SignedKeys>>;
}

/** POST /_matrix/client/v3/keys/query for all devices of one account. */
export async function publishedKeys(api: ClientApi, userId: string): Promise<PublishedAccount> {
  const found = readAnswer(
    answer,
    await api({ method: 'POST', path: '/_matrix/client/v3/keys/query', body: { device_keys: { [userId]: [] } } }),
  );
  return {
    master: found.master_keys[userId] ?? null,
    selfSigning: found.self_signing_keys[userId] ?? null,
    userSigning: found.user_signing_keys[userId] ?? null,
    devices: found.device_keys[userId] ?? {},
  };
}
