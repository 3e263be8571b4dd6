import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { copySqlite } from '../../src/stack/host/sqlite.ts';

/** A copy of an SQLite file to which another process writes all the time. */

jest.setTimeout(30_000);

let dir: string;
let writer: ChildProcess | null = null;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'sqlite-'));
});
afterEach(async () => {
  if (writer?.kill('SIGKILL') === true) await once(writer, 'exit');
  writer = null;
  rmSync(dir, { recursive: true, force: true });
});

/** Two rows in each transaction, some hundred times a second. */
const writing = `
const { DatabaseSync } = require('node:sqlite');
const database = new DatabaseSync(process.argv[1], { timeout: 20000 });
const one = database.prepare('INSERT INTO one DEFAULT VALUES');
const two = database.prepare('INSERT INTO two DEFAULT VALUES');
for (let n = 0; ; n += 1) {
  database.exec('BEGIN IMMEDIATE');
  one.run();
  two.run();
  database.exec('COMMIT');
  if (n === 0) console.log('writing');
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2);
}`;

test.each(['wal', 'delete'])('ends, and is of one instant (%s)', async (mode) => {
  const path = join(dir, 'homeserver.db');
  const database = new DatabaseSync(path);
  database.exec(`PRAGMA journal_mode = ${mode}; PRAGMA synchronous = OFF;
    CREATE TABLE e2e_one_time_keys_json (key_json TEXT);
    CREATE TABLE one (id INTEGER PRIMARY KEY); CREATE TABLE two (id INTEGER PRIMARY KEY);
    CREATE TABLE fill AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200) SELECT i, zeroblob(1 << 20) AS content FROM n;
    INSERT INTO e2e_one_time_keys_json VALUES ('{}')`);
  database.close();
  writer = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', '-e', writing, path], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(writer.stdout as NonNullable<ChildProcess['stdout']>, 'data');
  const copy = await copySqlite(path, join(dir, 'copies'));
  expect(writer.exitCode).toBeNull();
  expect(await copy.rows('PRAGMA integrity_check')).toEqual([{ integrity_check: 'ok' }]);
  const [counted] = await copy.rows(
    'SELECT (SELECT count(*) FROM one) AS one, (SELECT count(*) FROM two) AS two, (SELECT count(*) FROM fill) AS fill',
  );
  expect(counted).toMatchObject({ fill: 200 });
  expect(counted?.['one']).toBe(counted?.['two']);
  expect(Number(counted?.['one'])).toBeGreaterThan(0);
  expect(await copy.rows('SELECT * FROM e2e_one_time_keys_json')).toEqual([]);
  await copy.close();
  expect(readdirSync(join(dir, 'copies'))).toEqual([]);
});
