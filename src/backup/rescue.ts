import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { shellWord } from '../config/shell-word.ts';
import type { DatabaseFacts, MasPlace, StackFacts } from '../stack/stack.ts';
import type { EpochRow } from '../store/backups.ts';
import type { Destination } from './destinations/destination.ts';
import type { OwnPart } from './own.ts';
import { quotedName } from './quoted-name.ts';
import { psqlLine, superuser } from './restore-text.ts';

/** What somebody needs to know who has nothing but a key and a destination. No secret. */
export interface RescueFacts {
  stewardVersion: string;
  /** Public half of the key that manifests are signed with, base64url. */
  signer: string;
  /** All of the configuration. */
  destinations: readonly Pick<Destination, 'name' | 'place' | 'access'>[];
  epochs: readonly Pick<EpochRow, 'name' | 'recipient' | 'recipients' | 'sealed'>[];
  stack: StackFacts;
  database: DatabaseFacts;
  /** Steward's own, absolute. */
  configPath: string;
  storePath: string;
  /** Names of the variables that are part of its configuration, and the file that holds them in a backup. */
  environment: readonly string[];
  environmentPath: string;
}

/** At the top of a destination, where it is seen first. */
export const rescueSheet = 'RESCUE.txt';
/** What lies beside it. */
export const rescueFolder = 'rescue/';

const epochFile = (name: string): string => `${rescueFolder}epoch-${name}.age`;

/** RESCUE.txt: where everything is, who can open it, and what to type on a bare machine. The same in each destination. */
export function rescueText(facts: RescueFacts): string {
  const { stewardVersion, signer, destinations, epochs, stack, database, configPath, storePath, environment, environmentPath } = facts;
  const { database: place, delegated, mas } = stack;
  const open = 'age -d -i epochs.key "$ID"';
  const config = shellWord(configPath);
  const install =
    place.kind === 'postgres'
      ? `The database: PostgreSQL at ${place.host}:${place.port}, with the roles ${[...new Set([place.owner, place.user])].join(' and ')}:
their passwords are in the files of step 2 and 3. What a restore needs of them, and an empty database.
${superuser}

${grantsFor(place).map(psqlLine).join('\n')}
createdb -T template0 -E UTF8 --locale=C -O ${shellWord(place.owner)} ${shellWord(place.name)}`
      : `Nothing, for the database: SQLite, at ${place.path}.`;
  const masPlace =
    !delegated && mas === null ? '' : `\nMatrix Authentication Service${delegated ? ', which has the accounts' : ''}: ${masWords(mas)}`;
  const masInstall =
    mas === null
      ? ''
      : `
Matrix Authentication Service, not started, and its database at ${mas.host}:${mas.port} with the role ${mas.user}:

createdb -T template0 -E UTF8 -O ${shellWord(mas.user)} ${shellWord(mas.name)}
${open}/database/mas.dump.zst.age | zstd -d | pg_restore --exit-on-error --no-owner --role=${shellWord(mas.user)} -d ${shellWord(mas.name)}
`;
  return `How ${stack.serverName} comes back when its machine is lost.

What is here is all that is needed, with one of the keys of age below. Nothing on this sheet is secret.
Never run two homeservers of one name: be sure that the lost one stays off.

WHERE EVERYTHING IS

Backups, each with RESTORE.txt, which needs neither Steward nor this sheet:
${destinations.map(({ name, place: at, access }) => `  ${name}: ${at}${access === null ? '' : ` (${access})`}`).join('\n')}
Signed by Steward's key ${signer}
Steward ${stewardVersion}, its configuration ${configPath}
  its store ${storePath}${environment.length === 0 ? '' : `\n  variables of its environment: ${environment.join(' ')}; step 2 puts them into ${environmentPath}`}
Synapse, its configuration ${stack.configFiles.join(' ')}
  its media ${stack.mediaPath}
  its signing key ${stack.signingKeyPath}
  its schema ${database.schemaVersion}: a Synapse that has it, or a newer one
  its database: ${place.kind === 'postgres' ? `PostgreSQL ${database.version}, ${place.name} at ${place.host}:${place.port}` : `SQLite ${database.version}, ${place.path}`}${masPlace}

WHO CAN OPEN IT

Backups are sealed to a key of the month, which is sealed to these recipients. One of their keys is enough.
${epochs.map(({ name, recipient, recipients }) => `  ${epochFile(name)}, of ${recipient}, opened by ${recipients.length === 0 ? 'those of its time' : recipients.join(' ')}`).join('\n')}

WHAT TO TYPE

First the software, nothing of it started: Steward ${stewardVersion} or newer, Synapse${place.kind === 'postgres' ? `, PostgreSQL ${database.major ?? ''} or newer` : ''}${masPlace === '' ? '' : ', Matrix Authentication Service'}, with the
users that they run as: files come back by the names of their owners.

As root, in a folder that holds what this destination holds; of a bucket, ${rescueFolder} and the folder of the newest backup that has a
manifest.json are enough here, and Steward reads the rest from the bucket. my.key is your key of age.

1. The keys, and the newest backup that is whole.

umask 077
for key in ${rescueFolder}epoch-*.age; do age -d -i my.key "$key" || echo "# not by this key: $key"; done > epochs.key
ID=$(ls -d ????????_??????/manifest.json | tail -n 1 | cut -d / -f 1)

2. Steward itself: configuration, secrets, keys, people and roles, schedules, audit.

${open}/steward/steward.tar.age | tar -x -p -C /

3. The homeserver's configuration, secrets and signing key, in folders that its own user can enter.

umask 022
${open}/config/config.tar.age | tar -x -p -C /
${open}/secrets/secrets.tar.age | tar -x -p -C /
${open}/keys/signing-key.tar.age | tar -x -p -C /

4. ${install}
${masInstall}
5. All else, by Steward. Where the destination is at another place now, say so in ${configPath} first.

steward backup scan --config ${config} --identity-file my.key
steward restore prepare "$ID" --yes --config ${config} --identity-file my.key
steward restore cutover latest --config ${config} --break-glass 'the machine was lost'
steward server doctor --config ${config}

6. Where the admin room is encrypted: a new device for Steward. The recovery material signs it, and clients go on trusting it.

steward crypto reset --config ${config}

7. Steward again for good, and the keys of step 1 away.

rm epochs.key
steward run --config ${config}
`;
}

/** @returns statements */
function grantsFor({ owner, user }: { owner: string; user: string }): string[] {
  const role = quotedName(user);
  const member = owner === user ? [] : [`GRANT ${quotedName(owner)} TO ${role}`];
  return [`ALTER ROLE ${role} CREATEDB`, ...member, `GRANT pg_signal_backend, pg_read_all_settings TO ${role}`];
}

const masWords = (database: MasPlace | null): string =>
  database === null
    ? 'NOTHING of it is in these backups, and without its own nobody can log in'
    : `its database is PostgreSQL, ${database.name} at ${database.host}:${database.port}`;

/** All that the sheet says, of this Steward and its homeserver. */
export interface RescueSource extends Pick<RescueFacts, 'stewardVersion' | 'signer' | 'destinations' | 'epochs' | 'configPath'> {
  own: OwnPart;
}

export function rescueFacts({ own, ...rest }: RescueSource, stack: StackFacts, database: DatabaseFacts): RescueFacts {
  const { storePath, environment, environmentPath } = own;
  return { ...rest, stack, database, storePath, environment: Object.keys(environment()), environmentPath };
}

/** Puts the sheet and the sealed keys into a destination, where they are not there as they are now. */
export async function putRescueSheet(
  destination: Destination,
  text: string,
  epochs: readonly Pick<EpochRow, 'name' | 'sealed'>[],
): Promise<void> {
  for (const { name, sealed } of epochs) await putIfOther(destination, epochFile(name), sealed);
  // The sheet names them: it comes last.
  await putIfOther(destination, rescueSheet, Buffer.from(text));
}

async function putIfOther(destination: Destination, name: string, content: Buffer): Promise<void> {
  const isSame = (await destination.size(name)) === content.length && (await buffer(destination.get(name))).equals(content);
  if (!isSame) await destination.put(name, Readable.from([content]));
}
