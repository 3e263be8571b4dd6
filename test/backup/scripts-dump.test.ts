import { expect, test } from '@jest/globals';
import { readPlainDump, type DumpFacts } from '../../src/backup/scripts/dump.ts';

/** What a plain dump may say, and what it may not. */

const table = (name: string, columns: string, rows: readonly string[]): string =>
  `CREATE TABLE public.${name} (\n    ${columns.replaceAll(', ', ' text,\n    ')} text\n);\nALTER TABLE public.${name} OWNER TO synapse;\nCOPY public.${name} (${columns}) FROM stdin;\n${rows.map((row) => `${row}\n`).join('')}\\.\n\n`;

const tables = [
  table('e2e_one_time_keys_json', 'user_id', []),
  // Rows that look like statements, like commands, and like the end of the rows.
  table('events', 'event_id, body', ['$1\t; DROP DATABASE synapse;', '$2\t\\\\! rm -rf /', "$3\t'$$", '$4\t\\\\.']),
  table('local_media_repository', 'media_id', ['a']),
  table('schema_version', 'lock, version', ['X\t94']),
  table('users', 'name, admin', ['@alice:example.org\t1', '@bob:example.org\t0']),
].join('');

const dump = (more = ''): string => `--
-- PostgreSQL database dump
--

\\restrict abc

-- Dumped from database version 15.18 (Debian 15.18-0+deb12u1)

SET statement_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
${more}
CREATE FUNCTION public.check_it() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
  -- it's a quote; and a semicolon
  RAISE EXCEPTION 'Incorrect; \\ "';
END;
$$;
GRANT ALL ON SCHEMA public TO PUBLIC;
${tables}--
-- PostgreSQL database dump complete
--

\\unrestrict abc

`;

async function read(text: string, step = text.length): Promise<{ sql: string; facts: DumpFacts }> {
  const facts: DumpFacts = { version: null, encoding: null, schemaVersion: null, serverName: null };
  const bytes = Buffer.from(text);
  async function* chunks(): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < bytes.length; at += step) yield await Promise.resolve(bytes.subarray(at, at + step));
  }
  const out: Buffer[] = [];
  for await (const chunk of readPlainDump(chunks(), facts)) out.push(Buffer.from(chunk));
  return { sql: Buffer.concat(out).toString(), facts };
}

test('it says of what it is, and loses nothing but owners, rights and settings of the program', async () => {
  const { sql, facts } = await read(dump());
  expect(facts).toEqual({ version: '15.18', encoding: 'UTF8', schemaVersion: 94, serverName: 'example.org' });
  expect(sql).not.toMatch(/OWNER TO|GRANT|restrict|statement_timeout/);
  expect(sql).toContain('COPY public.events (event_id, body) FROM stdin;\n$1\t; DROP DATABASE synapse;\n$2\t\\\\! rm -rf /\n');
  expect(sql).toContain(`RAISE EXCEPTION 'Incorrect; \\ "';`);
});

test('where its chunks end makes no difference', async () => {
  const { sql } = await read(dump());
  for (const step of [1, 2, 3, 5, 7, 64, 1000]) expect((await read(dump(), step)).sql).toBe(sql);
});

test('one that is cut anywhere is cut', async () => {
  const text = dump();
  const whole = text.indexOf('-- PostgreSQL database dump complete\n') + '-- PostgreSQL database dump complete\n'.length;
  for (let at = 0; at < whole; at += 1) await expect(read(text.slice(0, at))).rejects.toMatchObject({ id: 'backup.unreadable' });
});

test.each([
  '\\! touch hacked',
  "\\copy users from program 'id'",
  'SELECT 1 \\g |id',
  'DROP DATABASE synapse;',
  "SET client_encoding = 'UTF8'; DROP DATABASE synapse;",
  'COMMIT;',
  'RESET ROLE;',
  'SET standard_conforming_strings = off;',
  'DO $$ BEGIN END $$;',
  "COPY public.users (name) FROM PROGRAM 'id';",
  'CREATE TABLE public.x AS SELECT 1;',
  "CREATE TABLE public.x (a text DEFAULT pg_read_file('/etc/passwd'));",
  "CREATE FUNCTION public.f() RETURNS void LANGUAGE plpgsql AS $f$ BEGIN EXECUTE 'RESET ROLE'; END; $f$;",
  "CREATE FUNCTION public.f() RETURNS void LANGUAGE sql AS $$ COPY users TO PROGRAM 'id' $$;",
  "CREATE TABLE public.x (a text DEFAULT E'\\''); DROP DATABASE synapse; --');",
  '/* a comment */',
  "ALTER SYSTEM SET archive_command = 'id';",
  'ALTER ROLE synapse SUPERUSER;',
])('it may not say %s', async (line) => {
  await expect(read(dump(`${line}\n`))).rejects.toMatchObject({ id: 'restore.unsafe-dump' });
});

test('accounts of two servers, and what is none of Synapse, are refused', async () => {
  await expect(read(dump().replace('@bob:example.org', '@bob:other.org'))).rejects.toMatchObject({ id: 'backup.unreadable' });
  await expect(read('--\n-- PostgreSQL database dump complete\n--\n')).rejects.toMatchObject({
    reason: expect.stringContaining('none of Synapse'),
  });
});
