// C0 and C1 controls, soft hyphen, bidi marks and overrides, zero-width characters, line separators, tags, variation fillers.
const invisible =
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb]|[\u{e0000}-\u{e007f}]/gu;

/** The text as it may be shown on one line: no control, bidi or zero-width characters, line breaks as spaces. */
export function visible(text: string): string {
  return text
    .replace(/[\r\n\t]+/g, ' ')
    .replace(invisible, '')
    .toWellFormed();
}

/** A name that somebody chose, cut at `limit` characters. */
export function visibleName(name: string, limit = 64): string {
  return cutEnd(visible(name).trim(), limit);
}

const segmenter = new Intl.Segmenter();

/** At most `limit` characters as people count them, the last an ellipsis where some are left out. */
export function cutEnd(text: string, limit: number): string {
  if (text.length <= limit) return text;
  const characters = Array.from(segmenter.segment(text), ({ segment }) => segment);
  if (characters.length <= limit) return text;
  return limit < 2 ? '' : `${characters.slice(0, limit - 1).join('')}…`;
}

/** The last `limit` characters, the first an ellipsis where some are left out. */
export function cutStart(text: string, limit: number): string {
  if (text.length <= limit) return text;
  const characters = Array.from(segmenter.segment(text), ({ segment }) => segment);
  return characters.length <= limit ? text : `…${characters.slice(characters.length - limit + 1).join('')}`;
}

/** Several lines: line breaks and tabs stay, the rest as in `visible`. */
export function visibleBlock(text: string): string {
  return text
    .split(/\r?\n/)
    .map((line) => line.split('\t').map(visible).join('\t'))
    .join('\n');
}
