/**
 * What a reply is made of. Commands build these, never strings of HTML; matrix/ and terminal/ each have one renderer.
 * Text may hold anything an attacker chose as a name: renderers escape it and strip what does not show.
 */

/** A run of text inside a line. `id` carries the name an account or room gave itself, always shown beside the id. */
export type Inline =
  | string
  | { strong: string }
  | { code: string }
  | { id: string; name?: string | null | undefined }
  | { link: string; text: string }
  /** Milliseconds since the epoch, shown in the configured zone. */
  | { time: number }
  /** A command without its prefix: `!user info x` in the room, `steward user info x` in the shell. */
  | { command: string };

export type Line = readonly Inline[];

export interface Column {
  title: string;
  align?: 'left' | 'right';
}

export type Part =
  | { kind: 'text'; line: Line }
  | { kind: 'heading'; text: string }
  | { kind: 'fields'; fields: readonly (readonly [label: string, value: Line])[] }
  | { kind: 'list'; items: readonly Line[] }
  | { kind: 'table'; columns: readonly Column[]; rows: readonly (readonly Line[])[] }
  /** Fixed width, line breaks kept: carets, logs. */
  | { kind: 'code'; text: string };

export const text = (...line: Inline[]): Part => ({ kind: 'text', line });
export const heading = (title: string): Part => ({ kind: 'heading', text: title });
export const list = (items: readonly Line[]): Part => ({ kind: 'list', items });
export const code = (block: string): Part => ({ kind: 'code', text: block });
export const table = (columns: readonly Column[], rows: readonly (readonly Line[])[]): Part => ({ kind: 'table', columns, rows });

/** Label and value, one a line; pairs whose value is undefined are left out. */
export function fields(...pairs: readonly (readonly [label: string, value: Line | undefined])[]): Part {
  return { kind: 'fields', fields: pairs.flatMap(([label, value]) => (value === undefined ? [] : [[label, value] as const])) };
}
