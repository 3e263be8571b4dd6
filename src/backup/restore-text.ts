import { shellWord } from '../config/shell-word.ts';
import type { StackFacts } from '../stack/stack.ts';
import type { Manifest } from './manifest.ts';
import { quotedName } from './quoted-name.ts';

/** Told beside the lines that need it. */
export const superuser = `The lines of PostgreSQL want its superuser: on its own machine put \`runuser -u postgres --\` before createdb, psql and pg_restore,
of another set PGHOST, PGPORT, PGUSER and PGPASSWORD before.`;

/** RESTORE.txt: what to type on a machine that has `age`, `zstd`, `pg_restore` and `tar`, and nothing else. */
export function restoreText(
  manifest: Pick<Manifest, 'id' | 'server' | 'objects' | 'epochs'>,
  { database: place, mediaPath, mas: accounts }: Pick<StackFacts, 'database' | 'mediaPath' | 'mas'>,
): string {
  const { id, server, objects, epochs } = manifest;
  const role = shellWord(place.kind === 'postgres' ? place.owner : 'synapse');
  const live = place.kind === 'postgres' ? place.name : 'synapse';
  const of = (role: string) => objects.filter((object) => object.role === role);
  const keyFile = (epoch: string): string => `epoch-${epoch}.key`;
  const open = ({ name, epoch }: { name: string; epoch: string }): string => `age -d -i ${keyFile(epoch)} ${name}`;
  const masRole = shellWord(accounts?.user ?? 'mas');
  const { engine } = server.database;
  const database = of('database').map((object) =>
    engine !== undefined
      ? `# ${engine.name} holds it, as ${engine.label} of ${engine.server}; with PostgreSQL stopped:\n${engine.restore}`
      : server.database.kind === 'pg_dump'
        ? [
            `createdb -T template0 -E UTF8 --locale=C -O ${role} synapse_restored`,
            `${open(object)} | zstd -d | pg_restore --exit-on-error --no-owner --role=${role} -d synapse_restored`,
            '',
            'In place of the old one, which is kept; the first line only where there is one.',
            '',
            rename(live, `${live}_before`),
            rename('synapse_restored', live),
          ].join('\n')
        : [
            `${open(object)} | zstd -d > homeserver.db`,
            '',
            `Move the old file away, with -wal and -shm beside it, before this one goes to its place (${place.kind === 'sqlite' ? place.path : 'homeserver.db'}),
and give it to the user that the homeserver runs as (chown --reference=OLD homeserver.db).`,
          ].join('\n'),
  );
  const mas = of('mas-database').map(
    (object) => `
The database of Matrix Authentication Service, beside the old one; \`database\` in its configuration names which it uses. Stop it first.

createdb -T template0 -E UTF8 -O ${masRole} mas_restored
${open(object)} | zstd -d | pg_restore --exit-on-error --no-owner --role=${masRole} -d mas_restored
`,
  );
  const media = of('media').map((object) => `${open(object)} | tar -x -p -C media_store`);
  return `Backup ${id} of the Matrix homeserver ${server.name}.

Everything here can be opened with age, zstd, pg_restore and tar. Stop the homeserver first, and never run two servers
with one name and one signing key. Type all lines in the folder that holds ${id}.

1. The keys. my.key is the file with your own identity of age. What comes out here and in step 2 nobody else is to read.

umask 077
${epochs.map(({ name, object }) => `age -d -i my.key ${object} > ${keyFile(name)}`).join('\n')}

2. The database (${server.database.kind !== 'sqlite' ? `PostgreSQL ${server.database.major ?? ''} or newer` : 'SQLite'}). One-time keys are not in it, on purpose.${server.database.kind === 'pg_dump' ? `\n${superuser}` : ''}

${database.join('\n')}
${mas.join('')}
3. The media, into the folder that \`media_store_path\` names (${mediaPath}). All packs, in this order.

umask 022
${media.length === 0 ? '# There were none.' : media.join('\n')}

4. The signing key, the configuration and the files with secrets, at their own paths below the folder \`restored\`.

mkdir -p restored
${[...of('signing-key'), ...of('config'), ...of('secrets')].map((object) => `${open(object)} | tar -x -p -C restored`).join('\n')}

5. Steward itself, where its machine is lost too: RESCUE.txt at the top of the destination says what to do with it.

mkdir -p restored
${of('steward')
  .map((object) => `${open(object)} | tar -x -p -C restored`)
  .join('\n')}

6. Remove the keys of step 1.

rm ${epochs.map(({ name }) => keyFile(name)).join(' ')}
`;
}

const rename = (from: string, to: string): string => psqlLine(`ALTER DATABASE ${quotedName(from)} RENAME TO ${quotedName(to)}`);

/** A line of the shell that has the database's superuser say this. */
export const psqlLine = (statement: string): string => `psql -d postgres -c ${shellWord(statement)}`;
