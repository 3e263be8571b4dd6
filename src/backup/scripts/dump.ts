import { Failure } from '../../failures/failure.ts';

/** What a plain dump says of its database; whole only when it was read to its end. */
export interface DumpFacts {
  /** Of the server that it was made of; null where the dump does not say. */
  version: string | null;
  encoding: string | null;
  schemaVersion: number | null;
  /** Domain of the accounts in it; null where there is none. */
  serverName: string | null;
}

/** What every database of Synapse has. */
const tablesOfSynapse = ['events', 'users', 'schema_version', 'local_media_repository', 'e2e_one_time_keys_json'];

/** Of lines that are no rows, and of statements. */
const statementAtMost = 4 << 20;
const newline = 0x0a;
/** The end of a table's rows, with the end of the line before it. */
const end = Buffer.from('\n\\.\n');

/** Settings that decide how what follows is read; all others of a dump are of the program that wrote it. */
const settings = /^SET (client_encoding|standard_conforming_strings|check_function_bodies|xmloption|default_table_access_method) = /;
const otherSettings = /^SET [a-z_]+ = ('[^']*'|\w+)$/;
const values = {
  client_encoding: /^SET client_encoding = '(\w+)'$/,
  standard_conforming_strings: /^SET standard_conforming_strings = on$/,
  check_function_bodies: /^SET check_function_bodies = (true|false)$/,
  xmloption: /^SET xmloption = (content|document)$/,
  default_table_access_method: /^SET default_table_access_method = heap$/,
};
/** Who owns what, and who may use it, are for the server that it is loaded into. */
const leftOut = /^(ALTER DEFAULT PRIVILEGES|GRANT|REVOKE|COMMENT ON (EXTENSION|SCHEMA|DATABASE))\b|^ALTER [\s\S]+ OWNER TO ("[^"]+"|\w+)$/;
const comment = /^COMMENT ON (TABLE|COLUMN|INDEX|SEQUENCE|FUNCTION|TRIGGER|CONSTRAINT|VIEW|TYPE) /;
const wanted = [
  /^SELECT pg_catalog\.set_config\('search_path', '', false\)$/,
  /^SELECT pg_catalog\.setval\('[^']+', -?\d+, (true|false)\)$/,
  /^CREATE (UNLOGGED )?TABLE [\w."]+ \(/,
  /^CREATE (SEQUENCE|(UNIQUE )?INDEX|(CONSTRAINT )?TRIGGER|FUNCTION|VIEW|STATISTICS|TYPE|EXTENSION IF NOT EXISTS) /,
  /^ALTER (TABLE|SEQUENCE|INDEX|STATISTICS) /,
];
/** Synapse's functions look into its tables and raise errors; what has the form of pg_dump may do far more than that. */
const farReaching =
  /\b(execute(?!\s+(function|procedure)\b)|copy|reset|authorization|set\s+(local\s+|session\s+)?role|dblink\w*|lo_\w+|pg_(?!catalog\b)\w+)\b/i;
const copyHead = /^COPY (?:public\.)?(\w+|"[^"]+") \(([^()]*)\) FROM stdin$/;

/**
 * Reads a dump as `pg_dump` writes it without `-F`, and gives the statements that load it into an empty database, without
 * owners and rights. Of a statement that is none of pg_dump's, or of what only psql understands, nothing is given: who could write to
 * the file would run what he likes.
 *
 * @param facts filled as it is read
 * @throws Failure `backup.unreadable` for one that is cut, `restore.unsafe-dump`
 */
export async function* readPlainDump(chunks: AsyncIterable<Uint8Array>, facts: DumpFacts): AsyncGenerator<Buffer> {
  const statements = new Statements(facts);
  const tables = new Set<string>();
  let rest: Buffer = Buffer.alloc(0);
  let rows: { read: ((data: Buffer) => void) | null } | null = null;
  for await (const chunk of chunks) {
    const data = rest.length === 0 ? Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength) : Buffer.concat([rest, chunk]);
    let at = 0;
    for (;;) {
      if (rows !== null) {
        const found = data.indexOf(end, at);
        const until = found === -1 ? Math.max(at, data.length - end.length + 1) : found + end.length;
        const part = data.subarray(at, until);
        rows.read?.(part);
        if (part.length > 0) yield part;
        at = until;
        if (found === -1) break;
        rows = null;
        continue;
      }
      const lineEnd = data.indexOf(newline, at);
      if (lineEnd === -1) break;
      const found = statements.line(data.subarray(at, lineEnd).toString('utf8'));
      // The line's end belongs to the rows: the mark after the last of them begins with one.
      at = found.some(({ table }) => table !== null) ? lineEnd : lineEnd + 1;
      for (const { sql, table } of found) {
        yield Buffer.from(table === null ? `${sql};\n` : `${sql};`);
        if (table === null) continue;
        tables.add(table.name);
        rows = { read: readerOf(table, facts) };
      }
    }
    rest = data.subarray(at);
    if (rows === null && rest.length > statementAtMost) throw unsafe('a line of it is far too long');
  }
  if (rows !== null || rest.length > 0 || !statements.isComplete)
    throw new Failure('backup.unreadable', {
      attempted: 'read the dump to its end',
      reason: 'it is cut: it does not end with “PostgreSQL database dump complete”',
    });
  const missing = tablesOfSynapse.find((table) => !tables.has(table));
  if (missing !== undefined || facts.schemaVersion === null)
    throw new Failure('backup.unreadable', {
      attempted: 'read the dump',
      reason: `it is none of Synapse: it has no ${missing ?? 'schema_version'}`,
    });
}

interface Table {
  name: string;
  columns: readonly string[];
}

/** Splits lines of SQL into statements, and judges them. */
class Statements {
  readonly #facts: DumpFacts;
  #sql = '';
  /** What the text is within: quotes of either kind, or the tag of a dollar quote. */
  #within: string | null = null;
  #isEscaped = false;
  /** Whether the dump's last line was read, and nothing after it. */
  isComplete = false;

  constructor(facts: DumpFacts) {
    this.#facts = facts;
  }

  /** What a line completes. */
  line(text: string): { sql: string; table: Table | null }[] {
    if (this.#within === null && this.#sql.trim() === '') {
      // psql of later versions reads what is between these without its own commands; so it is read here in any case.
      if (/^\\(un)?restrict \w+$/.test(text)) return [];
      const version = /^-- Dumped from database version (\S+)/.exec(text)?.[1];
      if (version !== undefined) this.#facts.version = version;
      if (text === '-- PostgreSQL database dump complete') this.isComplete = true;
    }
    const done: { sql: string; table: Table | null }[] = [];
    for (let at = 0; at < text.length; at += 1) {
      const char = text[at] ?? '';
      if (this.#within !== null) {
        at = this.#inQuotes(text, at);
        continue;
      }
      if (text.startsWith('--', at)) break;
      if (char === '\\') throw unsafe(`it has a command of psql: ${text.slice(0, 80)}`);
      if (text.startsWith('/*', at)) throw unsafe('it has a comment that pg_dump does not write');
      if (char === ';') {
        done.push(...this.#judge(this.#sql.trim(), text.slice(at + 1)));
        this.#sql = '';
        continue;
      }
      const dollar = char === '$' && !/[\w$]/.test(text[at - 1] ?? ' ') ? /^\$(?:[A-Za-z_]\w*)?\$/.exec(text.slice(at))?.[0] : undefined;
      if (dollar !== undefined) {
        this.#within = dollar;
        this.#sql += dollar;
        at += dollar.length - 1;
        continue;
      }
      if (char === "'" || char === '"') {
        this.#within = char;
        this.#isEscaped = char === "'" && /(^|[^\w$])e$/i.test(text.slice(0, at));
      }
      this.#sql += char;
    }
    this.#sql += '\n';
    if (this.#sql.length > statementAtMost) throw unsafe('a statement of it is far too long');
    return done;
  }

  /** @returns where the reading goes on from */
  #inQuotes(text: string, at: number): number {
    const within = this.#within ?? '';
    if (within.startsWith('$')) {
      const closing = text.indexOf(within, at);
      const part = closing === -1 ? text.slice(at) : text.slice(at, closing);
      this.#sql += part;
      if (closing === -1) return text.length;
      this.#sql += within;
      this.#within = null;
      return closing + within.length - 1;
    }
    const char = text[at] ?? '';
    this.#sql += char;
    if (this.#isEscaped && char === '\\') {
      this.#sql += text[at + 1] ?? '';
      return at + 1;
    }
    // A quote that is doubled closes and opens again.
    if (char === within) this.#within = null;
    return at;
  }

  #judge(sql: string, after: string): { sql: string; table: Table | null }[] {
    this.isComplete = false;
    const copy = copyHead.exec(sql);
    if (copy !== null) {
      if (after.trim() !== '') throw unsafe(`${after.trim().slice(0, 80)} follows on the line of the rows of ${copy[1] ?? ''}`);
      const columns = (copy[2] ?? '').split(',').map((column) => column.trim());
      return [{ sql, table: { name: copy[1] ?? '', columns } }];
    }
    if (leftOut.test(sql)) return [];
    if (comment.test(sql)) return [{ sql, table: null }];
    if (settings.test(sql)) {
      const name = settings.exec(sql)?.[1] as keyof typeof values;
      const value = values[name].exec(sql);
      if (value === null) throw unsafe(`it says ${sql.slice(0, 80)}`);
      if (name === 'client_encoding') this.#facts.encoding = value[1] ?? null;
      return [{ sql, table: null }];
    }
    if (otherSettings.test(sql)) return [];
    if (!wanted.some((form) => form.test(sql))) throw unsafe(`it says ${sql.slice(0, 80)}`);
    const word = farReaching.exec(sql)?.[0];
    if (word !== undefined) throw unsafe(`it says ${word} in ${sql.slice(0, 80)}`);
    return [{ sql, table: null }];
  }
}

/** Of two tables the rows are looked at. */
function readerOf({ name, columns }: Table, facts: DumpFacts): ((data: Buffer) => void) | null {
  if (name === 'schema_version')
    return byLine(columns.indexOf('version'), (version) => {
      facts.schemaVersion = Number(version);
    });
  if (name !== 'users') return null;
  return byLine(columns.indexOf('name'), (userId) => {
    const serverName = userId.slice(userId.indexOf(':') + 1);
    if (facts.serverName !== null && facts.serverName !== serverName)
      throw new Failure('backup.unreadable', {
        attempted: 'read the dump',
        reason: `it has accounts of ${facts.serverName} and of ${serverName}`,
      });
    facts.serverName = serverName;
  });
}

/** Gives one column of each row, in the form of COPY. */
function byLine(column: number, take: (value: string) => void): (data: Buffer) => void {
  let waiting = '';
  return (data) => {
    const lines = (waiting + data.toString('latin1')).split('\n');
    waiting = lines.pop() ?? '';
    for (const line of lines) {
      const value = line.split('\t')[column];
      if (value !== undefined && line !== '' && line !== '\\.') take(value);
    }
  };
}

const unsafe = (reason: string): Failure => new Failure('restore.unsafe-dump', { attempted: 'read the dump', reason });
