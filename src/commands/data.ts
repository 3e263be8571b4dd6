import type { z } from 'zod';
import type { DataStream } from '../reply/reply.ts';
import type { ListCommand, Page } from './define.ts';

type Row = Record<string, unknown>;

/** All pages of a list as one file: JSON with a row a line, or CSV whose cells no spreadsheet takes for formulas. */
export function listData(command: ListCommand, pages: AsyncIterable<Page<Row>>, format: 'json' | 'csv'): DataStream {
  const name = command.name.replaceAll(' ', '-');
  const columns = Object.keys((command.result as z.ZodObject).shape);
  return format === 'csv'
    ? { name: `${name}.csv`, mediaType: 'text/csv', chunks: csv(pages, columns) }
    : { name: `${name}.json`, mediaType: 'application/json', chunks: json(pages) };
}

export function recordData(name: string, record: unknown, format: 'json' | 'csv'): DataStream {
  const base = name.replaceAll(' ', '-');
  if (format === 'json')
    return { name: `${base}.json`, mediaType: 'application/json', chunks: once(`${JSON.stringify(record, null, 2)}\n`) };
  return { name: `${base}.csv`, mediaType: 'text/csv', chunks: once(csvOf([record as Row], Object.keys(record as Row), true)) };
}

async function* csv(pages: AsyncIterable<Page<Row>>, columns: readonly string[]): AsyncGenerator<string> {
  let header = true;
  for await (const page of pages) {
    yield csvOf(page.rows, columns, header);
    header = false;
  }
}

function csvOf(rows: readonly Row[], columns: readonly string[], header: boolean): string {
  const lines = rows.map((row) => columns.map((column) => cellOf(row[column])));
  return (header ? [columns, ...lines] : lines).map((cells) => `${cells.join(',')}\n`).join('');
}

/** Quoted where RFC 4180 asks for it. A library for this took most of the time and memory of a large export. */
function cellOf(value: unknown): string {
  const cell = typeof value === 'string' ? withoutFormula(value) : value == null ? '' : JSON.stringify(value);
  return /[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell;
}

/** What begins one in any spreadsheet, also in full width and after what does not show. */
const formula = /^(?:[\s\p{Cf}]*[=+\-@\uff0b\uff0d\uff1d\uff20]|[\t\r\n])/u;

/** Text that a spreadsheet would run is quoted; a user id begins with @ and holds nothing to run. */
function withoutFormula(cell: string): string {
  const isUserId = /^@[a-z0-9._=/+-]+:[a-z0-9.:[\]-]+$/i.test(cell);
  return formula.test(cell) && !isUserId ? `'${cell}` : cell;
}

async function* json(pages: AsyncIterable<Page<Row>>): AsyncGenerator<string> {
  let before = '[\n';
  for await (const page of pages) {
    if (page.rows.length === 0) continue;
    yield before + page.rows.map((row) => JSON.stringify(row)).join(',\n');
    before = ',\n';
  }
  yield before === '[\n' ? '[]\n' : '\n]\n';
}

async function* once(text: string): AsyncGenerator<string> {
  yield await Promise.resolve(text);
}
