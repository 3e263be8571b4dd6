import { styleText } from 'node:util';
import Table from 'cli-table3';
import stringWidth from 'string-width';
import type { Inline, Line, Part } from '../reply/parts.ts';
import { lineText, renderPlain, type TextOptions } from '../reply/plain.ts';
import { visible, visibleBlock } from '../reply/visible.ts';
import type { Output } from './output.ts';

type Style = Parameters<typeof styleText>[0];
type Paint = (style: Style, text: string) => string;

/** Parts as text for a stream: for eyes on a terminal, in colour unless `NO_COLOR`; plain columns into a pipe. Ends with a line break. */
export function renderFor(stream: Output['stream'], parts: readonly Part[], timeZone: string): string {
  const options: TextOptions = { timeZone, prefix: 'steward ', wide: true };
  if (parts.length === 0) return '';
  if (stream.isTTY !== true) return `${renderPlain(parts, options).replace(/^\n/, '')}\n`;
  const paint: Paint = (style, text) => (text === '' ? '' : styleText(style, text, { stream }));
  return `${parts
    .map((part) => partText(part, options, paint))
    .join('\n')
    .replace(/^\n/, '')}\n`;
}

function partText(part: Part, options: TextOptions, paint: Paint): string {
  const line = (given: Line): string => given.map((inline) => inlineText(inline, options, paint)).join('');
  switch (part.kind) {
    case 'text':
      return line(part.line);
    case 'heading':
      return `\n${paint('bold', visible(part.text))}`;
    case 'fields': {
      const labels = part.fields.map(([label]) => visible(label));
      const width = Math.max(0, ...labels.map((label) => stringWidth(label)));
      return part.fields.map(([, value], at) => `  ${paint('dim', padded(labels[at] ?? '', width))}  ${line(value)}`).join('\n');
    }
    case 'list':
      return part.items.map((item) => `  • ${line(item)}`).join('\n');
    case 'table':
      return tableText(part, line, paint);
    case 'code':
      return visibleBlock(part.text);
  }
}

const noBorders = {
  top: '',
  'top-mid': '',
  'top-left': '',
  'top-right': '',
  bottom: '',
  'bottom-mid': '',
  'bottom-left': '',
  'bottom-right': '',
  left: '',
  'left-mid': '',
  mid: '',
  'mid-mid': '',
  right: '',
  'right-mid': '',
  middle: '  ',
};

function tableText(part: Extract<Part, { kind: 'table' }>, line: (given: Line) => string, paint: Paint): string {
  const table = new Table({ chars: noBorders, style: { head: [], border: [], compact: true, 'padding-left': 0, 'padding-right': 0 } });
  const cells = (texts: readonly string[]): { content: string; hAlign: 'left' | 'right' }[] =>
    texts.map((content, at) => ({ content, hAlign: part.columns[at]?.align ?? 'left' }));
  table.push(cells(part.columns.map((column) => paint('bold', visible(column.title)))), ...part.rows.map((row) => cells(row.map(line))));
  return table
    .toString()
    .split('\n')
    .map((row) => row.trimEnd())
    .join('\n');
}

/** What it says is decided by the plain renderer, which strips what must not reach a terminal; here it gets its colour. */
function inlineText(inline: Inline, options: TextOptions, paint: Paint): string {
  const shown = lineText([inline], options);
  if (typeof inline === 'string' || 'time' in inline) return shown;
  if ('strong' in inline) return paint(strongStyle(inline.strong), shown);
  if ('code' in inline || 'command' in inline) return paint('cyan', shown);
  if ('link' in inline) return paint('underline', shown);
  const id = visible(inline.id);
  return id + paint('dim', shown.slice(id.length));
}

function strongStyle(word: string): Style {
  if (word === 'error:') return ['bold', 'red'];
  return word === 'hint:' ? ['bold', 'yellow'] : 'bold';
}

function padded(text: string, width: number): string {
  return text + ' '.repeat(Math.max(0, width - stringWidth(text)));
}
