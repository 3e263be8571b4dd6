import { rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Secret } from '../config/secret.ts';
import { Failure } from '../failures/failure.ts';
import type { Authority, Bootstrap, Identity, PendingPassword } from '../homeserver/bootstrap.ts';
import { readSecret, writeSetupFile } from './files.ts';
import { createAdminRoom, findAdminRoom, inspectRoom, joinRoom, type AdminRoomOptions } from './room.ts';

export interface Bot {
  identity: Identity;
  token: Secret;
}

/** The device that every token of the bot belongs to. */
export const botDevice = 'STEWARD';

/** Refuses, with the lines to type, where Matrix Authentication Service owns the accounts: only it can make the bot's. */
export async function refuseDelegated(bootstrap: Bootstrap, localpart: string, tokenPath: string): Promise<void> {
  const issuer = await bootstrap.delegatedTo();
  if (issuer === null) return;
  const lines = [
    'Type these where MAS runs, then put the token into the file and run `steward init` again:',
    `  mas-cli manage register-user --yes --display-name Steward ${localpart}`,
    `  mas-cli manage promote-admin ${localpart}`,
    `  mas-cli manage issue-compatibility-token ${localpart} --yes-i-want-to-grant-synapse-admin-privileges`,
    `  install -m 600 /dev/stdin ${tokenPath}`,
  ];
  throw new Failure('guard.identity-provider', {
    attempted: 'make the account of Steward',
    reason: `accounts are owned by Matrix Authentication Service (${issuer})`,
    hint: lines.join('\n'),
  });
}

/** Makes the bot's token and stores it; it is proven before the file is written. */
export async function connectBot(
  bootstrap: Bootstrap,
  { authority, localpart, deviceId, tokenPath }: { authority: Authority; localpart: string; deviceId: string; tokenPath: string },
): Promise<Bot> {
  const pending = pendingPassword(join(dirname(tokenPath), 'bot-password.pending'));
  const token = await bootstrap.obtainToken(authority, localpart, deviceId, pending);
  const identity = await bootstrap.identify(token);
  if (identity?.deviceId !== deviceId)
    throw new Failure('homeserver.not-done', { attempted: 'make an access token', reason: `it is not bound to device ${deviceId}` });
  await writeSetupFile(tokenPath, `${token.reveal()}\n`);
  await pending.drop();
  return { identity, token };
}

/** Throws where somebody who shall have a seat is not an account of this homeserver. */
export async function requireMembers(bootstrap: Bootstrap, { identity, token }: Bot, members: readonly string[]): Promise<void> {
  for (const userId of members) {
    if (!userId.endsWith(`:${identity.serverName}`))
      throw new Failure('user.not-local', {
        attempted: `give ${userId} a seat`,
        reason: `it is not an account of ${identity.serverName}, and the admin room is not federated`,
      });
    if (userId === identity.userId) throw new Failure('guard.self', { attempted: `give ${userId} a seat` });
    if (!(await bootstrap.exists(userId, token)))
      throw new Failure('user.not-found', {
        attempted: `give ${userId} a seat`,
        hint: 'Is it spelt right? Accounts of persons are not made here.',
      });
  }
}

/** The admin room: the one that is named, the one that an earlier run made, or a new one. */
export async function enterRoom(room: string, options: AdminRoomOptions): Promise<string> {
  if (room === 'new') return (await findAdminRoom(options)) ?? createAdminRoom(options);
  await joinRoom(options, room);
  await inspectRoom(options, room);
  return room;
}

function pendingPassword(path: string): PendingPassword {
  return {
    read: () => readSecret(path),
    keep: (password) => writeSetupFile(path, `${password.reveal()}\n`),
    drop: () => rm(path, { force: true }),
  };
}
