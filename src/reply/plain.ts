import stringWidth from 'string-width';
import type { Inline, Line, Part } from './parts.ts';
import { showTime } from './time.ts';
import { visible, visibleBlock, visibleName } from './visible.ts';

export interface TextOptions {
  timeZone: string;
  /** What stands before a command: `!` or `steward `. */
  prefix: string;
  /** Tables as columns, however wide; else a line a row. */
  wide: boolean;
}

/** Plain text: the `body` of a message, and what a pipe gets. */
export function renderPlain(parts: readonly Part[], options: TextOptions): string {
  return parts.map((part) => partText(part, options)).join('\n');
}

function partText(part: Part, options: TextOptions): string {
  switch (part.kind) {
    case 'text':
      return lineText(part.line, options);
    case 'heading':
      return `\n${visible(part.text)}`;
    case 'fields':
      return part.fields.map(([label, value]) => `${visible(label)}: ${lineText(value, options)}`).join('\n');
    case 'list':
      return part.items.map((item) => `• ${lineText(item, options)}`).join('\n');
    case 'table':
      return options.wide ? columns(part, options) : part.rows.map((row) => `• ${cardText(row, options)}`).join('\n');
    case 'code':
      return visibleBlock(part.text);
  }
}

/** The cells of a row that say something, in one line for a narrow screen. */
function cardText(row: readonly Line[], options: TextOptions): string {
  return row
    .map((cell) => lineText(cell, options))
    .filter((cell) => cell !== '')
    .join(' · ');
}

function columns(part: Extract<Part, { kind: 'table' }>, options: TextOptions): string {
  const rows = [
    part.columns.map((column) => visible(column.title).toUpperCase()),
    ...part.rows.map((row) => row.map((cell) => lineText(cell, options))),
  ];
  const widths = part.columns.map((_, at) => Math.max(...rows.map((row) => stringWidth(row[at] ?? ''))));
  return rows
    .map((row) =>
      row
        .map((cell, at) => pad(cell, widths[at] ?? 0, part.columns[at]?.align === 'right'))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

function pad(cell: string, width: number, right: boolean): string {
  const fill = ' '.repeat(Math.max(0, width - stringWidth(cell)));
  return right ? fill + cell : cell + fill;
}

export function lineText(line: Line, options: TextOptions): string {
  return line.map((inline) => inlineText(inline, options)).join('');
}

function inlineText(inline: Inline, options: TextOptions): string {
  if (typeof inline === 'string') return visible(inline);
  if ('strong' in inline) return visible(inline.strong);
  if ('code' in inline) return visible(inline.code);
  if ('command' in inline) return visible(options.prefix + inline.command);
  if ('time' in inline) return showTime(inline.time, options.timeZone);
  if ('link' in inline) return `${visible(inline.text)} (${visible(inline.link)})`;
  const name = visibleName(inline.name ?? '');
  return name === '' ? visible(inline.id) : `${visible(inline.id)} (${name})`;
}
