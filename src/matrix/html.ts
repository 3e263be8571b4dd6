import type { Inline, Line, Part } from '../reply/parts.ts';
import type { TextOptions } from '../reply/plain.ts';
import { showTime } from '../reply/time.ts';
import { visible, visibleBlock, visibleName } from '../reply/visible.ts';

/** `org.matrix.custom.html`, of the tags that phones show: b, code, pre, ul, li, p, br, a; `table` only for a desk. */
export function renderHtml(parts: readonly Part[], options: TextOptions): string {
  return parts.map((part) => partHtml(part, options)).join('');
}

function partHtml(part: Part, options: TextOptions): string {
  switch (part.kind) {
    case 'text':
      return `<p>${lineHtml(part.line, options)}</p>`;
    case 'heading':
      return `<p><b>${escape(visible(part.text))}</b></p>`;
    case 'fields':
      return `<p>${part.fields.map(([label, value]) => `<b>${escape(visible(label))}:</b> ${lineHtml(value, options)}`).join('<br>')}</p>`;
    case 'list':
      return `<ul>${part.items.map((item) => `<li>${lineHtml(item, options)}</li>`).join('')}</ul>`;
    case 'table':
      return options.wide ? tableHtml(part, options) : `<ul>${part.rows.map((row) => `<li>${cardHtml(row, options)}</li>`).join('')}</ul>`;
    case 'code':
      return `<pre><code>${escape(visibleBlock(part.text))}</code></pre>`;
  }
}

function tableHtml(part: Extract<Part, { kind: 'table' }>, options: TextOptions): string {
  const head = part.columns.map((column) => `<th>${escape(visible(column.title))}</th>`).join('');
  const rows = part.rows.map((row) => `<tr>${row.map((cell) => `<td>${lineHtml(cell, options)}</td>`).join('')}</tr>`).join('');
  return `<table><thead><tr>${head}</tr></thead><tbody>${rows}</tbody></table>`;
}

function cardHtml(row: readonly Line[], options: TextOptions): string {
  return row
    .map((cell) => lineHtml(cell, options))
    .filter((cell) => cell !== '')
    .join(' · ');
}

function lineHtml(line: Line, options: TextOptions): string {
  return line.map((inline) => inlineHtml(inline, options)).join('');
}

function inlineHtml(inline: Inline, options: TextOptions): string {
  if (typeof inline === 'string') return escape(visible(inline));
  if ('strong' in inline) return `<b>${escape(visible(inline.strong))}</b>`;
  if ('code' in inline) return `<code>${escape(visible(inline.code))}</code>`;
  if ('command' in inline) return `<code>${escape(visible(options.prefix + inline.command))}</code>`;
  if ('time' in inline) return escape(showTime(inline.time, options.timeZone));
  if ('link' in inline)
    return inline.link.startsWith('https://')
      ? `<a href="${escape(inline.link)}">${escape(visible(inline.text))}</a>`
      : escape(visible(inline.text));
  const id = `<code>${escape(visible(inline.id))}</code>`;
  const name = visibleName(inline.name ?? '');
  return name === '' ? id : `${id} (${escape(name)})`;
}

function escape(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;').replaceAll("'", '&#39;');
}
